"""Every way to learn an encoder before there are labels.

To add one: a module beside this one, its class in the union below, its losses in
`trainers.deep.methods`, one test.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainers.byol import BYOL
from trainers.simclr import SimCLR, SupCon
from trainers.simfle import SimFLE
from trainers.vicreg import VICReg

AnyPretrainer = Annotated[SimCLR | SupCon | BYOL | VICReg | SimFLE, Field(discriminator="name")]
"""Every pretrainer YAML may name."""
