"""What a person is told of a dataset."""

import json
from pathlib import Path

from al_orchestrator.datasets.base import PackedDataset
from al_orchestrator.datasets.check import describe
from al_orchestrator.datasets.faces import DrawnFaces
from al_orchestrator.datasets.pack import pack


def test_a_summary_counts_every_split_and_class(tmp_path: Path) -> None:
    faces = DrawnFaces(image_size=16, num_train=7, num_val=0, num_test=7)
    packed: PackedDataset = pack(faces, tmp_path)

    summary = describe(packed)

    assert summary.images == 14
    assert summary.counts["train"] == dict.fromkeys(faces.classes, 1)
    assert summary.counts["val"] == dict.fromkeys(faces.classes, 0)
    assert summary.unlabelled == {"train": 0, "val": 0, "test": 0}
    assert (summary.repeats, summary.conflicting, summary.leaking, summary.shared) == (0, 0, 0, 0)
    assert json.loads(json.dumps(summary.to_json()))["fingerprint"] == packed.folder.name
