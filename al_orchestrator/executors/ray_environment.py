"""Environment variables that make Ray quiet, offline and private; Ray reads most at import."""

from __future__ import annotations

import os
import secrets
import sys

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no call home, no prompt
    "RAY_enable_metrics_collection": "0",
    # The raylet's long notices of dead workers would go to the standard output, where `--json`
    # prints; `WorkerLost` says the same in words.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # A worker without a GPU must not find one that belongs to another.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def prepare_ray_environment(*, embedded: bool) -> None:
    """Sets what the user has not set. Call it before Ray is imported; later it does less.

    An embedded Ray listens on all interfaces, so it gets a token that only its own processes
    know. It is kept for the life of this process, since Ray keeps the first one it has seen; and
    it is given in the environment, since Ray would otherwise write one below the home folder.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if embedded and os.environ.get("RAY_AUTH_MODE") != "disabled":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # After its import Ray no longer sees the mode being set; `ray.init` then sets it itself.
        if "ray" not in sys.modules:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
