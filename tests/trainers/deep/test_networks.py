from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from trainers import Encoder, TrainingError
from trainers.deep.checkpoints import digest_of_weights, load, save
from trainers.deep.nets.heads import SeededDropout
from trainers.deep.networks import (
    Network,
    Plan,
    build_network,
    load_learner,
    plan_network,
    save_learner,
)
from trainers.deep.seeding import generator

pytestmark = pytest.mark.torch

NARROW = Plan("resnet10_narrow", width=16, in_channels=1, num_classes=7, dropout=0.0)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_encoder_has_11_17_million_parameters_and_512_outputs() -> None:
    network = build_network(Plan("resnet18_cifar", 64, 3, 7, 0.0), generator(0))
    # Stem 3·64·9, four stages, batch norms; by hand from the table of He et al.
    assert count(network.encoder) == 11_168_832
    assert network.embedding_width == 512
    # 20 convolutions and 20 batch norms of five tensors each.
    assert len(network.encoder.state_dict()) == 120


def test_names_are_those_of_the_published_checkpoints() -> None:
    names = build_network(Plan("resnet18_cifar", 8, 3, 7, 0.0), generator(0)).encoder.state_dict()
    blocks = {
        f"layer{stage}.{block}.{part}{n}.weight"
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for part in ("conv", "bn")
        for n in (1, 2)
    }
    shortcuts = {f"layer{s}.0.shortcut.{n}.weight" for s in (2, 3, 4) for n in (0, 1)}
    weights = {name for name in names if name.endswith(".weight")}
    assert weights == {"conv1.weight", "bn1.weight"} | blocks | shortcuts


@pytest.mark.parametrize(
    ("plan", "size", "width"),
    [
        (NARROW, 48, 128),
        (Plan("resnet18_cifar", 4, 3, 7, 0.0), 24, 32),
        (Plan("resnet18", 0, 1, 7, 0.0), 64, 512),
        (Plan("resnet50", 0, 3, 7, 0.0), 64, 2048),
    ],
)
def test_images_become_embeddings_and_logits(plan: Plan, size: int, width: int) -> None:
    network = build_network(plan, generator(0)).eval()
    with torch.no_grad():
        logits, embeddings = network(torch.zeros(2, plan.in_channels, size, size))
    assert logits.shape == (2, 7)
    assert embeddings.shape == (2, width)


def test_the_narrow_network_halves_its_maps_three_times() -> None:
    network = build_network(NARROW, generator(0))
    seen: list[int] = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = network.encoder.get_submodule(name)
        stage.register_forward_hook(lambda _module, _args, out: seen.append(out.shape[-1]))
    network(torch.zeros(2, 1, 48, 48))
    assert seen == [48, 24, 12, 6]


def test_grey_images_are_repeated_for_an_encoder_of_three_channels() -> None:
    network = build_network(Plan("resnet10_narrow", 4, 3, 7, 0.0), generator(0)).eval()
    grey = torch.rand(2, 1, 16, 16, generator=generator(1))
    with torch.no_grad():
        torch.testing.assert_close(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


def test_equal_seeds_draw_equal_weights_whatever_the_global_generator() -> None:
    digests: list[str] = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(digests))
        network = build_network(NARROW, generator(seed))
        digests.append(digest_of_weights(network.state_dict()))
    assert digests[0] == digests[1] != digests[2]


def test_weights_are_drawn_within_torchs_own_bounds() -> None:
    network = build_network(NARROW, generator(0))
    conv = network.encoder.get_submodule("layer1.0.conv1").weight
    bound = (16 * 9) ** -0.5
    assert isinstance(conv, torch.Tensor)
    assert conv.abs().max() <= bound
    assert conv.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert network.head.linear.bias.abs().max() <= 128**-0.5


def test_a_checkpoint_builds_the_same_network_again(tmp_path: Path) -> None:
    network = build_network(NARROW, generator(3))
    digest = save_learner(tmp_path / "x.pt", network, {"labelled": 5})
    again, meta = load_learner(tmp_path / "x.pt")
    assert again.plan == NARROW
    assert meta["labelled"] == 5
    assert digest_of_weights(again.state_dict()) == digest == meta["digest"]


def test_a_checkpoint_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    save_learner(tmp_path / "x.pt", build_network(NARROW, generator(3)), {})
    content = load(tmp_path / "x.pt")
    weights = content["weights"]
    assert isinstance(weights, dict)
    weights["head.linear.bias"][0] += 1
    save(tmp_path / "x.pt", content)
    with pytest.raises(TrainingError, match="not those it was written with"):
        load_learner(tmp_path / "x.pt")


def test_an_encoder_file_is_no_learner(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"model": {}})
    with pytest.raises(TrainingError, match=r"has \['model'\] where weights and meta"):
        load_learner(tmp_path / "x.pt")


@pytest.mark.parametrize(("images", "file", "network"), [(1, 1, 1), (1, 3, 3), (3, 3, 3)])
def test_the_network_takes_the_channels_of_its_file(
    tmp_path: Path, images: int, file: int, network: int
) -> None:
    source = build_network(Plan("resnet10_narrow", 4, file, 7, 0.0), generator(0))
    torch.save(source.encoder.state_dict(), tmp_path / "x.pt")
    encoder = Encoder(name="resnet10_narrow", width=4, weights=tmp_path / "x.pt")
    plan, imported = plan_network(encoder, image_channels=images, num_classes=7, dropout=0.0)
    assert plan.in_channels == network
    assert imported is not None


def test_colour_images_do_not_go_into_a_grey_encoder(tmp_path: Path) -> None:
    source = build_network(Plan("resnet10_narrow", 4, 1, 7, 0.0), generator(0))
    torch.save(source.encoder.state_dict(), tmp_path / "x.pt")
    encoder = Encoder(name="resnet10_narrow", width=4, weights=tmp_path / "x.pt")
    with pytest.raises(TrainingError, match="images of 1 channels, the dataset has 3"):
        plan_network(encoder, image_channels=3, num_classes=7, dropout=0.0)


def test_dropout_in_training_masks_every_item_for_itself() -> None:
    dropout = SeededDropout(0.5)
    dropout.reseed(0, "test")
    out = dropout(torch.ones(200, 50))
    assert sorted(set(out.flatten().tolist())) == [0.0, 2.0]
    assert out.mean() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(out[0], out[1])
    dropout.reseed(0, "test")
    assert torch.equal(dropout(torch.ones(200, 50)), out)


def test_dropout_outside_of_training_is_nothing() -> None:
    x = torch.rand(3, 4, generator=generator(0))
    assert torch.equal(SeededDropout(0.5).eval()(x), x)


def test_a_posterior_draw_masks_all_items_alike() -> None:
    dropout = SeededDropout(0.5).eval()
    with dropout.posterior_draw(50, seed=1, draw=0):
        first = dropout(torch.ones(4, 50))
    with dropout.posterior_draw(50, seed=1, draw=1):
        second = dropout(torch.ones(4, 50))
    assert (first == first[0]).all()
    assert not torch.equal(first, second)
    assert torch.equal(dropout(torch.ones(4, 50)), torch.ones(4, 50))


def test_the_head_is_the_only_place_of_dropout() -> None:
    # Posterior draws run the encoder once for all masks; dropout inside it would be left out.
    network = Network(Plan("resnet10_narrow", 4, 1, 3, 0.5))
    assert [m for m in network.encoder.modules() if "Dropout" in type(m).__name__] == []
