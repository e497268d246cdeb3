"""The FER2013 VGG and its ten crops: sizes, order, averages, and no silent change of batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F
from torchvision.transforms.functional import ten_crop

from trainers import Encoder, FERClassifier, TrainingError
from trainers.crops import Crops
from trainers.deep.cropping import Cropper, ten_crops
from trainers.deep.erasing import kept_pixels
from trainers.deep.importing import read_encoder_file
from trainers.deep.nets.vgg import FERVGG
from trainers.deep.networks import Plan, blank_network, build_network, load_learner, shapes_of
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

WHOLE = Plan("vgg_fer", 64, 1, 7, 0.0, crop=40)
NARROW = Plan("vgg_fer", 2, 1, 3, 0.0, crop=40)


def images(count: int, side: int = 48) -> torch.Tensor:
    return torch.randn(count, 1, side, side, generator=generator(3, "images"))


def test_the_published_network_has_its_parameters_and_names() -> None:
    network = blank_network(WHOLE)
    assert sum(weight.numel() for weight in network.parameters()) == 29_890_759
    names = network.encoder.state_dict()
    assert len(names) == 60  # and two of lin3, the head
    assert {"conv1a.weight", "bn4b.running_var", "lin1.bias", "lin2.weight"} <= names.keys()
    assert names["lin1.weight"].shape == (4096, 2048)


def test_shapes_at_each_stage() -> None:
    network = build_network(NARROW, generator(0, "init")).eval()
    seen = images(3, 40)
    assert isinstance(network.encoder, FERVGG)
    assert network.encoder.maps(seen).shape == (3, 16, 2, 2)
    assert network.encoder(seen).shape == (3, 128)
    logits, embeddings = network(images(3))
    assert (logits.shape, embeddings.shape) == ((3, 3), (3, 128))


def test_an_image_of_48_pixels_is_refused_and_no_batch_changes_its_size() -> None:
    network = FERVGG(width=2, in_channels=1)
    for count in (4, 16):  # 16 x 4,608 is a multiple of 2,048: the published reshape went through
        with pytest.raises(ValueError, match=r"sees images of 40 x 40 pixels, these are 48 x 48"):
            network(images(count))
    trainer = FERClassifier.model_validate({"encoder": {"name": "vgg_fer"}})
    with pytest.raises(TrainingError, match=r"set trainer\.crops"):
        trainer.check(image_shape=(48, 48, 1), num_classes=7)
    trainer.model_copy(update={"crops": Crops(size=40)}).check(
        image_shape=(48, 48, 1), num_classes=7
    )
    with pytest.raises(TrainingError, match="do not fit"):
        trainer.model_copy(update={"crops": Crops(size=40)}).check(
            image_shape=(32, 32, 1), num_classes=7
        )


@pytest.mark.parametrize("side", [48, 47, 41])
def test_ten_crops_are_torchvisions_in_its_order(side: int) -> None:
    seen = images(2, side)
    theirs = torch.stack([torch.stack(ten_crop(image, [40, 40])) for image in seen]).flatten(0, 1)
    assert torch.equal(ten_crops(seen, 40), theirs)


def test_scores_are_means_over_ten_crops_one_by_one() -> None:
    network = build_network(NARROW, generator(0, "init")).eval()
    seen = images(3)
    with torch.no_grad():
        logits, embeddings = network(seen)
        for row, image in enumerate(seen):
            each = [network.encoder(crop[None]) for crop in ten_crops(image[None], 40)]
            torch.testing.assert_close(embeddings[row], torch.cat(each).mean(0))
            of_crops = torch.cat([network.head(embedding) for embedding in each])
            torch.testing.assert_close(logits[row], of_crops.mean(0))


def test_in_training_each_crop_is_an_example() -> None:
    network = build_network(NARROW, generator(0, "init")).train()
    network.reseed(0, 1)
    logits, _ = network(images(4))
    assert logits.shape == (40, 3)


def test_one_crop_is_the_centre_in_scoring_and_anywhere_in_training() -> None:
    seen = images(50)
    one = Cropper(40, ten=False, erasing=0.0)
    assert torch.equal(one.eval()(seen), seen[..., 4:44, 4:44])
    one.train().reseed(1, "crops")
    crops = one(seen)
    assert crops.shape == (50, 1, 40, 40)
    places = set()
    for image, crop in zip(seen, crops, strict=True):
        [place] = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(image[..., top : top + 40, left : left + 40], crop)
        ]
        places.add(place)
    assert len(places) > 20
    one.reseed(1, "crops")
    assert torch.equal(one(seen), crops)


def test_erasing_takes_rectangles_of_the_declared_size_from_its_share_of_crops() -> None:
    cropper = Cropper(40, ten=True, erasing=0.5).train()
    cropper.reseed(0, "crops")
    crops = cropper(torch.ones(60, 1, 48, 48))
    lost = [(crop[0] == 0) for crop in crops if (crop == 0).any()]
    assert len(lost) / len(crops) == pytest.approx(0.5, abs=0.07)
    for hole in lost:
        rows, columns = hole.any(1).sum().item(), hole.any(0).sum().item()
        assert hole.sum().item() == rows * columns  # one rectangle
        assert 0.015 < rows * columns / 1600 < 0.36
        assert 0.25 < rows / columns < 4
    assert torch.equal(cropper.eval()(torch.ones(2, 1, 48, 48)), torch.ones(20, 1, 40, 40))


def test_erasing_of_whole_images_reaches_the_network(toy: Toy) -> None:
    fields = {"encoder": {"name": "resnet10_narrow", "width": 2}, "crops": None, "epochs": 1}
    plain, seen = small(toy, **fields)
    erased, _ = small(toy, **fields, erasing={"share": 1.0, "min_area": 0.3, "max_area": 0.5})
    one, two = (
        trainer.fit(toy.task(name, images=seen))
        for name, trainer in (("plain", plain), ("erased", erased))
    )
    assert one.initial_digest == two.initial_digest
    assert one.checkpoint_digest != two.checkpoint_digest
    kept = kept_pixels(200, (20, 30), 0.5, generator(0, "x"), (0.3, 0.5))
    holes = 1 - kept.mean((1, 2))
    assert holes[holes > 0].min() > 0.25
    assert holes.max() < 0.55
    assert (holes > 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ValidationError, match=r"min_area 0\.5 is above max_area"):
        small(toy, erasing={"min_area": 0.5, "max_area": 0.1})


def test_a_file_of_the_published_layout_is_imported(tmp_path: Path) -> None:
    encoder = Encoder(name="vgg_fer", width=2)
    shapes = shapes_of(Plan("vgg_fer", 2, 1, 2, 0.0))
    params = {name: torch.full(shape, float(n)) for n, (name, shape) in enumerate(shapes.items())}
    head = {"lin3.weight": torch.zeros(7, 128), "lin3.bias": torch.zeros(7)}
    logs: dict[str, list[float]] = {"loss_train": [1.0], "acc_val": [50.0]}
    torch.save({"logs": logs, "params": {**params, **head}}, tmp_path / "epoch_300")
    found = read_encoder_file(tmp_path / "epoch_300", encoder, shapes.keys())
    assert found.in_channels == 1
    fitted = found.fitted_to(shapes, encoder)
    assert fitted.report is not None
    assert len(fitted.report.matched) == 60
    assert set(fitted.report.ignored) == head.keys()


def small(toy: Toy, **fields: Any) -> tuple[FERClassifier, Any]:
    """A VGG on the toy's images, blown up until a crop of 40 fits."""
    images = np.load(toy.images.path)
    factor = -(-48 // images.shape[1])
    large = images.repeat(factor, axis=1).repeat(factor, axis=2)[:, :48, :48]
    path = toy.root / "large.npy"
    if not path.exists():
        np.save(path, large)
    settings: dict[str, Any] = {
        "encoder": {"name": "vgg_fer", "width": 2},
        "crops": {"size": 40, "erasing": 0.5},
        "epochs": 2,
        "batch_size": 16,
        "augmentation": {"name": "resized_crop", "min_area": 0.8},
        "schedule": "plateau",
        "compute": {"precision": "auto"},
        "checkpoint_every_s": 0,
        **fields,
    }
    images_there = type(toy.images)(path, mean=toy.images.mean, std=toy.images.std)
    return FERClassifier.model_validate(settings), images_there


def test_a_fit_with_ten_crops_is_repeatable_and_its_predictions_are_averages(toy: Toy) -> None:
    trainer, seen = small(toy)
    few: dict[str, Any] = {
        "images": seen,
        "labelled": toy.examples(0, 24),
        "test": toy.examples(96, 112),
    }
    report = trainer.fit(toy.task("one", **few))
    assert report.checkpoint_digest == trainer.fit(toy.task("two", **few)).checkpoint_digest
    assert 0 <= report.metrics["train/accuracy"] <= 1
    network, _ = load_learner(report.checkpoint)
    task = toy.predict_task(report.checkpoint, "log_probs", "embeddings", "head")
    scored = trainer.predict(type(task)(**{**vars(task), "images": seen}))
    head = np.load(scored.files["head"])
    logits = np.load(scored.files["embeddings"]) @ head["weight"].T + head["bias"]
    expected = F.log_softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(np.load(scored.files["log_probs"]), expected, atol=1e-4)
    assert network.plan.crop == 40


def test_crops_and_centres_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="leave one out"):
        FERClassifier.model_validate({"crops": {"size": 40}, "center_loss": {}})


def test_a_start_from_a_checkpoint_takes_its_weights_and_the_crops_asked_for(
    make_toy: Any,
) -> None:
    toy = make_toy(size=48, count=160)
    fields = {"encoder": {"name": "vgg_fer", "width": 2}, "epochs": 1, "batch_size": 32}
    first = FERClassifier.model_validate({**fields, "crops": {"size": 40, "ten": False}})
    done = first.fit(toy.task("first"))

    asked = {"size": 40, "ten": True, "erasing": 0.5}
    start = {"weights": "warm_start", "start_from": done.checkpoint, "crops": asked}
    second = FERClassifier.model_validate({**fields, **start}).fit(toy.task("second"))
    assert second.initial_digest == done.checkpoint_digest
    network, _ = load_learner(second.checkpoint)
    assert (network.plan.ten, network.plan.erasing) == (True, 0.5)
