"""`alo`: parses, calls, prints; no decisions.

The verb alone acts on a run (`alo run`, `alo status`); a noun comes first for the rest (`alo
strategies list`). Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 waiting for labels,
75 asked to stop by a scheduler, 130 interrupted; a run that ended with any of them but 0 and 2
goes on with `alo run` again.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from al_orchestrator.cli import (
    bars,
    catalogue,
    comparing,
    encoders,
    explaining,
    labels,
    runs,
    sweeps,
    tuning,
    using,
)
from al_orchestrator.cli.signals import StoppedByScheduler
from al_orchestrator.errors import AloError

_INTERRUPTED = 130
_GOES_ON = "interrupted; the same command goes on"

app = typer.Typer(
    name="alo",
    help="Run active-learning experiments on images to their end, and prove what they did.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs.add_to(app)
sweeps.add_to(app)
tuning.add_to(app)
comparing.add_to(app)
bars.add_to(app)
using.add_to(app)
explaining.add_to(app)
labels.add_to(app)
encoders.add_to(app)
catalogue.add_to(app)


def main() -> NoReturn:
    """Runs `alo` and exits with its code."""
    try:
        code = app(standalone_mode=False)
    except AloError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        sys.exit(error.exit_code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except StoppedByScheduler:
        _leave("stopped as asked; the same command goes on", 75)
    except (KeyboardInterrupt, typer.Abort):
        _leave(_GOES_ON, _INTERRUPTED)
    except Exception as error:
        show = getattr(error, "show", None)  # click's own usage errors
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    if code == _INTERRUPTED:  # what typer makes of Ctrl-C
        _leave(_GOES_ON, _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(words: str, code: int) -> NoReturn:
    print(words, file=sys.stderr)  # noqa: T201 - the command line's own voice
    sys.exit(code)
