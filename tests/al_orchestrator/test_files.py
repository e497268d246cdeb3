from __future__ import annotations

from pathlib import Path

import pytest

from al_orchestrator.files import digest_of_file, digest_of_json, replacing, write_text


def fail_half_way(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_digests_are_of_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "")
    # The sha256 of nothing.
    assert digest_of_file(tmp_path / "a").startswith("e3b0c44298fc1c14")
    assert digest_of_json({"b": 1, "a": [1.5]}) == digest_of_json({"a": [1.5], "b": 1})
