"""Folders of a Ray go with their owner, at the latest when the next one comes."""

from __future__ import annotations

import os
from pathlib import Path

from al_orchestrator.executors.scratch import ScratchFolder


def test_a_folder_is_there_until_it_is_removed(tmp_path: Path) -> None:
    folder = ScratchFolder(tmp_path)
    (folder.path / "session").mkdir()
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_may_look_into_it(tmp_path: Path) -> None:
    assert ScratchFolder(tmp_path).path.stat().st_mode & 0o777 == 0o700


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    first, second = ScratchFolder(tmp_path), ScratchFolder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([first.path, second.path])


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    abandoned = ScratchFolder(tmp_path)
    (abandoned.path / "spilled").write_bytes(b"objects")
    assert abandoned._lock is not None
    os.close(abandoned._lock)  # as the system does when a process dies
    successor = ScratchFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [successor.path]


def test_the_folder_of_another_user_and_a_link_are_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    other = tmp_path / f"alo-ray-{os.getuid() + 1}-x"
    other.mkdir()
    link = tmp_path / f"alo-ray-{os.getuid()}-link"
    link.symlink_to(elsewhere)
    ScratchFolder(tmp_path)
    assert elsewhere.is_dir()
    assert other.is_dir()
    assert link.is_symlink()


def test_the_path_is_short_enough_for_the_sockets_of_ray() -> None:
    folder = ScratchFolder()
    assert len(str(folder.path)) <= 40
    folder.remove()
