"""Several processes make each step as one with all the images would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import FITTING
from torch import nn

from trainers import Encoder, Examples, Images, Pretrainer, PretrainTask, TrainingError
from trainers.byol import BYOL
from trainers.deep import checkpoints
from trainers.deep.gang import Gang, seated
from trainers.deep.losses.contrastive import sup_con
from trainers.optimizers import SGD
from trainers.pretraining import Seat, nobody
from trainers.simclr import SimCLR, SupCon
from trainers.simfle import SimFLE
from trainers.vicreg import VICReg

pytestmark = pytest.mark.torch

NARROW = Encoder.model_validate({"name": "resnet10_narrow", "width": 4})
SIZE = 3


def _work(function: Callable[..., Any], answers: Any, *arguments: Any) -> None:
    torch.set_num_threads(1)
    try:
        answers.put(function(*arguments))
    except Exception as error:
        answers.put(error)
        raise


def together(function: Callable[..., Any], *arguments: Any, size: int = SIZE) -> list[Any]:
    """`function(rank, *arguments)` in so many processes; answers in no order."""
    answers = FITTING.Queue()
    workers = [
        FITTING.Process(target=_work, args=(function, answers, rank, *arguments))
        for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    found = []
    try:
        for _ in workers:
            found.append(answers.get(timeout=60))
            if isinstance(found[-1], Exception):
                raise found[-1]
    finally:
        for worker in workers:
            worker.join(timeout=0 if len(found) < size else None)
            worker.kill()
    return found


def _normed(rank: int, rendezvous: Path, values: Any) -> dict[str, Any]:
    x = torch.from_numpy(values)
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    with seated(Seat(rank, SIZE, rendezvous), "cpu") as gang:
        gang.synchronise(layers)
        out = layers(gang.share(x))
        loss = gang.gather(out).pow(3).mean() + gang.mean(out.mean(0)).pow(2).sum()
        torch.autograd.backward(loss)
        gang.average([*layers.parameters()])
    grads = {f"{name}.grad": w.grad for name, w in layers.named_parameters() if w.grad is not None}
    return {name: x.detach().numpy() for name, x in {**layers.state_dict(), **grads}.items()}


def test_norms_gathering_means_and_gradients_are_those_of_all_images(tmp_path: Path) -> None:
    x = torch.randn(12, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    out = layers(x)
    torch.autograd.backward(out.pow(3).mean() + out.mean(0).pow(2).sum())
    for found in together(_normed, tmp_path / "meet", x.numpy()):
        for name, weight in layers.named_parameters():
            assert weight.grad is not None
            np.testing.assert_allclose(found[f"{name}.grad"], weight.grad, rtol=1e-4, atol=1e-5)
        for name, buffer in layers.state_dict().items():
            np.testing.assert_allclose(found[name], buffer, rtol=1e-5, atol=1e-6)


def test_shares_of_a_contrastive_loss_have_its_mean() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 12, 5, generator=rng, dtype=torch.float64)
    for groups in (torch.full((12,), -1), torch.arange(12) % 4, torch.arange(12) // 9 - 1):
        whole = sup_con(first, second, groups, 0.3)
        shares = [sup_con(first, second, groups, 0.3, share=(r, 4)) for r in range(4)]
        torch.testing.assert_close(torch.stack(shares).mean(), whole)


METHODS: list[Pretrainer] = [
    SimCLR(projection=8),
    SupCon(projection=8, unlabelled="contrast"),
    BYOL(hidden=16, projection=8, momentum=0.9),
    VICReg(hidden=16, projection=16),
    SimFLE(hidden=16, projection=8, face_mae="tiny", groups=4),
]


def _pretrain(rank: int, method: Pretrainer, tasks: list[PretrainTask]) -> Any:
    report = method.pretrain(NARROW, tasks[rank])
    return report.digest, dict(report.metrics), dict(report.notes)


def task_in(folder: Path, method: Pretrainer, count: int = 40) -> PretrainTask:
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    rows = np.arange(count)
    labelled = Examples(rows[::3], rng.integers(0, 3, len(rows[::3])))
    return PretrainTask(
        images=Images(folder / "images.npy", mean=(0.5,), std=(0.25,)),
        rows=rows,
        seed=0,
        out_dir=folder,
        cache_dir=folder,
        device="cpu",
        labelled=labelled if method.reads_labels else nobody(),
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_gang_learns_what_one_process_learns(tmp_path: Path, method: Pretrainer) -> None:
    # Small steps: with large ones rounding grows from step to step, by how much is the machine's.
    method = method.model_copy(
        update={"epochs": 2, "batch_size": 18, "optimizer": SGD(lr=0.001, weight_decay=0.0)}
    )
    alone = task_in(tmp_path / "alone", method)
    report = method.pretrain(NARROW, alone)
    task = task_in(tmp_path / "gang", method)

    found = together(_pretrain, method, task.shared_by(SIZE))

    assert len({digest for digest, _, _ in found}) == 1
    for _, metrics, notes in found:
        assert notes["processes"] == str(SIZE)
        assert metrics["loss"] == pytest.approx(report.metrics["loss"], rel=1e-5)
    weights: dict[str, Any] = {
        name: checkpoints.load(folder.out_dir / "encoder.pt")["weights"]
        for name, folder in {"one": alone, "many": task}.items()
    }
    for name, tensor in weights["one"].items():
        torch.testing.assert_close(weights["many"][name], tensor, rtol=1e-4, atol=2e-5, msg=name)
    history = (task.out_dir / "metrics.jsonl").read_text().splitlines()
    assert len(history) == 2  # one process writes it


def test_a_minibatch_too_small_to_share_is_an_error(tmp_path: Path) -> None:
    method = SimCLR(epochs=1, batch_size=4)
    shared = task_in(tmp_path / "task", method).shared_by(3)
    with pytest.raises(TrainingError, match="too small for 3 processes"):
        method.pretrain(NARROW, shared[0])


def test_alone_nothing_is_sent() -> None:
    gang, x = Gang(), torch.ones(3, requires_grad=True)
    assert gang.gather(x) is x
    assert gang.mean(x) is x
    assert gang.share(x) is x
    with seated(None, "cpu") as found:
        assert found == gang
