"""How weights follow gradients: what YAML may set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_FROZEN = ConfigDict(
    extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
)


class SGD(BaseModel):
    """Stochastic gradient descent with momentum."""

    model_config = _FROZEN

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.01, gt=0)
    """Learning rate of the first epoch."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step that is taken again."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty on all weights."""
    nesterov: bool = False
    """Look ahead along the momentum; needs momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0; set momentum, or nesterov: false")
        return self


class Adam(BaseModel):
    """Kingma & Ba 2015 (arXiv 1412.6980); with `amsgrad`, Reddi et al. 2018 (arXiv 1904.09237)."""

    model_config = _FROZEN

    name: Literal["adam"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the first epoch."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the means of gradients and of their squares."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the squares."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""
    amsgrad: bool = False
    """Divide by the largest mean of squares so far."""


class AdamW(BaseModel):
    """Adam with weight decay beside the gradient (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    model_config = _FROZEN

    name: Literal["adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the first epoch."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the means of gradients and of their squares."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the squares."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Share of the weights, times the learning rate, that each step takes away."""


class Adadelta(BaseModel):
    """Zeiler 2012 (arXiv 1212.5701)."""

    model_config = _FROZEN

    name: Literal["adadelta"] = "adadelta"
    lr: float = Field(default=1.0, gt=0)
    """Scales every step; 1 in the paper."""
    rho: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of squares."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""


class Adagrad(BaseModel):
    """Duchi, Hazan & Singer 2011 (JMLR 12)."""

    model_config = _FROZEN

    name: Literal["adagrad"] = "adagrad"
    lr: float = Field(default=0.01, gt=0)
    """Learning rate of the first epoch."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""


class RMSprop(BaseModel):
    """Tieleman & Hinton 2012 (Coursera, lecture 6)."""

    model_config = _FROZEN

    name: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the first epoch."""
    alpha: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the mean of squares."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Share of the last step that is taken again."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""


class ASGD(BaseModel):
    """Averaged stochastic gradient descent (Polyak & Juditsky 1992), as torch has it."""

    model_config = _FROZEN

    name: Literal["asgd"] = "asgd"
    lr: float = Field(default=0.01, gt=0)
    """Learning rate of the first epoch."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""


def _sgd_unless_named(fields: object) -> object:
    """What is no mapping, or has a name, is left to pydantic."""
    if isinstance(fields, dict) and "name" not in fields:
        return {"name": "sgd", **fields}
    return fields


Optimizer = Annotated[
    Annotated[
        SGD | Adam | AdamW | Adadelta | Adagrad | RMSprop | ASGD, Field(discriminator="name")
    ],
    BeforeValidator(_sgd_unless_named),
]


class SAM(BaseModel):
    """Steps by the gradient at the worst place near by (Foret et al. 2021, arXiv 2010.01412).

    Two passes a step: w + ρ g / (‖g‖ + 1e-12) over all weights, then the optimiser's step from w by
    the gradient found there. Loss and running accuracy are those of the first pass. Differs from
    the code that POSTER uses: running statistics of batch norm move in the first pass alone.
    """

    model_config = _FROZEN

    rho: float = Field(default=0.05, gt=0)
    """ρ, how far away the worst place is looked for."""


class Constant(BaseModel):
    """The learning rate as set."""

    model_config = _FROZEN

    name: Literal["constant"] = "constant"


class Cosine(BaseModel):
    """Down to `minimum` along half a cosine, epoch by epoch."""

    model_config = _FROZEN

    name: Literal["cosine"] = "cosine"
    minimum: float = Field(default=0.0, ge=0)
    """Learning rate at the end."""


class WarmRestarts(BaseModel):
    """A cosine that begins anew (Loshchilov & Hutter 2017, arXiv 1608.03983)."""

    model_config = _FROZEN

    name: Literal["warm_restarts"] = "warm_restarts"
    period: int = Field(default=10, ge=1)
    """Epochs of the first cosine."""
    factor: int = Field(default=1, ge=1)
    """Each following one is so many times as long."""
    minimum: float = Field(default=0.0, ge=0)
    """Learning rate at the end of each."""


class Step(BaseModel):
    """Down by a factor every so many epochs."""

    model_config = _FROZEN

    name: Literal["step"] = "step"
    every: int = Field(default=20, ge=1)
    """Epochs between two steps."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """What the rate is multiplied by."""


class Exponential(BaseModel):
    """Down by a factor every epoch."""

    model_config = _FROZEN

    name: Literal["exponential"] = "exponential"
    factor: float = Field(default=0.98, gt=0, le=1)
    """What the rate is multiplied by."""


class Plateau(BaseModel):
    """Down by a factor when the validation set has found nothing better for a while."""

    model_config = _FROZEN

    name: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.75, gt=0, lt=1)
    """What the rate is multiplied by."""
    patience: int = Field(default=5, ge=0)
    """Looks at the validation set without a better balanced accuracy that are let pass."""
    minimum: float = Field(default=0.0, ge=0)
    """The rate never falls below."""


class OneCycle(BaseModel):
    """Up and down once, step by step, along cosines (Smith & Topin 2018, arXiv 1708.07120).

    `optimizer.lr` is the highest rate. Momentum stays as it is.
    """

    model_config = _FROZEN

    name: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(default=0.3, gt=0, lt=1)
    """Share of the steps on the way up."""
    start_divisor: float = Field(default=25.0, ge=1)
    """The first rate is the highest one over this."""
    end_divisor: float = Field(default=1e4, ge=1)
    """The last rate is the first one over this."""


def _named(value: object) -> object:
    """`cosine` stands for {name: cosine}."""
    return {"name": value} if isinstance(value, str) else value


AnySchedule = Annotated[
    Annotated[
        Cosine | Constant | WarmRestarts | Step | Exponential | Plateau | OneCycle,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
