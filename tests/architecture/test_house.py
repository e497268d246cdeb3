"""The rules of ARCHITECTURE.md that can be checked."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
ROOMS = ("al_orchestrator", "strategies", "trainers")
SOURCES = [path for room in ROOMS for path in sorted((HOUSE / room).rglob("*.py"))]

DOORS = {
    "ray": ("al_orchestrator/executors/",),
    "mlflow": ("al_orchestrator/tracking/mlflow_tracker.py",),
    "sqlalchemy": ("al_orchestrator/pool/",),
    "typer": ("al_orchestrator/cli/",),
    "yaml": ("al_orchestrator/config/source.py",),
    "torch": ("trainers/deep/",),
    "torchvision": ("trainers/deep/",),
    "captum": ("trainers/deep/saliency.py",),
}


def imported(path: Path) -> set[str]:
    """Top-level packages a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", DOORS)
def test_each_library_comes_in_through_its_door(library: str) -> None:
    strays = [
        path.relative_to(HOUSE).as_posix()
        for path in SOURCES
        if library in imported(path)
        and not path.relative_to(HOUSE).as_posix().startswith(DOORS[library])
    ]
    assert strays == []


def test_imports_follow_the_arrows() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_rooms_come_from_one_folder() -> None:
    import al_orchestrator
    import strategies
    import trainers

    parents = {
        Path(str(room.__file__)).parents[1] for room in (al_orchestrator, strategies, trainers)
    }
    assert len(parents) == 1


def test_data_folders_hold_no_python() -> None:
    assert [*(HOUSE / "experiments").rglob("*.py"), *(HOUSE / "docker").rglob("*.py")] == []


def test_no_file_is_longer_than_a_person_reads() -> None:
    lengths = {p.relative_to(HOUSE).as_posix(): len(p.read_text().splitlines()) for p in SOURCES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def loaded_by(code: str) -> set[str]:
    names = "{m.split('.')[0] for m in sys.modules}"
    program = f"{code}\nimport sys, json; print(json.dumps(sorted({names})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "from al_orchestrator.cli import app",
        "from al_orchestrator.config import load_config",
        "from al_orchestrator.experiment import Experiment",
        "from al_orchestrator.reports.runs import status_of",
    ],
)
def test_what_every_command_needs_loads_no_torch_ray_or_mlflow(code: str) -> None:
    assert loaded_by(code) & {"torch", "torchvision", "ray", "mlflow", "pandas", "sklearn"} == set()


HELP = """
import sys
sys.argv = ["alo", "--help"]
from al_orchestrator.cli import main
try:
    main()
except SystemExit:
    pass
"""


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "mlflow", "numpy", "pydantic", "sqlalchemy", "yaml"}
    assert loaded_by(HELP) & heavy == set()


BLOCKED = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ray", "mlflow", "typer"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Bare())
import strategies, trainers, al_orchestrator.controller, al_orchestrator.config
"""


def test_the_core_runs_bare() -> None:
    loaded_by(BLOCKED)
