"""Many experiments at once: a base, varied along axes, for several seeds.

Nothing is stored of a sweep: its YAML says which runs there are, and their ledgers say how far each
has got. So `run_sweep` killed anywhere and called again does what is left, and no more.
"""

from al_orchestrator.sweeps.driver import run_sweep
from al_orchestrator.sweeps.plan import Plan, Trial, is_sweep, load_plan
from al_orchestrator.sweeps.showing import show_sweep
from al_orchestrator.sweeps.standing import Standing, standings

__all__ = [
    "Plan",
    "Standing",
    "Trial",
    "is_sweep",
    "load_plan",
    "run_sweep",
    "show_sweep",
    "standings",
]
