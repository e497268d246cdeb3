"""Documents are true of the code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.main import get_command

from al_orchestrator.cli import app
from al_orchestrator.config import config_schema
from al_orchestrator.reports.catalogue import strategy_entries

HOUSE = Path(__file__).parents[2]
README = (HOUSE / "README.md").read_text()


def test_relative_links_lead_somewhere() -> None:
    pages = [*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md"), *HOUSE.glob("experiments/*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def commands() -> dict[str, str]:
    """Every command in full, with its help."""
    found = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {})
        for words, each in {f"{name} {sub}": c for sub, c in below.items()}.items():
            found[words] = each.help or ""
        if not below:
            found[name] = command.help or ""
    return found


@pytest.mark.parametrize("words", commands())
def test_a_command_is_in_the_readme_and_shows_an_example(words: str) -> None:
    assert f"`alo {words}" in README
    assert f"Example: alo {words}" in commands()[words]


def test_every_strategy_is_in_the_readme() -> None:
    assert [e.name for e in strategy_entries() if f"`{e.name}`" not in README] == []


def test_every_preset_is_in_the_list_of_experiments() -> None:
    page = (HOUSE / "experiments" / "README.md").read_text()
    folder = HOUSE / "experiments"
    presets = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    assert [name for name in presets if f"`{name}`" not in page] == []


def test_the_schema_in_the_repository_is_the_one_alo_prints() -> None:
    stored = json.loads((HOUSE / "experiments" / "experiment.schema.json").read_text())
    assert stored == config_schema(), "alo config schema > experiments/experiment.schema.json"


@pytest.mark.torch
@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_the_python_of_the_readme_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(HOUSE / "experiments", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
