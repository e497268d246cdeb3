"""The masked autoencoder shows what it is told to, and puts patches back where they belong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainers.deep.nets.facemae import FACE_MAE, FaceMAE, patchify, unpatchify
from trainers.deep.nets.mlp import Expander, MLPHead, ProjectionHead
from trainers.deep.nets.semantic_masking import SemanticMasking, kept_tokens
from trainers.deep.nets.transformer import Block, sincos_positions

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(name: str = "tiny", channels: int = 1) -> FaceMAE:
    with torch.device("meta"):
        mae = FaceMAE(FACE_MAE[name](channels))
    mae.to_empty(device="cpu")
    mae.draw(torch.Generator().manual_seed(3))
    return mae.eval()


def test_the_base_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        mae = FaceMAE(FACE_MAE["base"](3))
    learned = sum(weight.numel() for weight in mae.parameters())
    assert round(learned / 1e6, 2) == 111.66  # positions are fixed and not counted


@pytest.mark.parametrize("name", FACE_MAE)
def test_every_size_cuts_faces_into_49_patches(name: str) -> None:
    plan = FACE_MAE[name](1)
    assert plan.side == 7
    assert plan.side * plan.patch == plan.image_size


def test_twelve_of_49_are_kept_and_they_are_the_highest() -> None:
    assert kept_tokens(49, 0.75) == 12
    scores = drawn(5, 49)
    out = built()(drawn(5, 1, 28, 28), scores, 12)
    assert (~out.masked).sum(1).tolist() == [12] * 5
    for row in range(5):
        visible, hidden = scores[row][~out.masked[row]], scores[row][out.masked[row]]
        assert float(visible.min()) > float(hidden.max())
        assert out.kept[row].tolist() == scores[row].argsort(descending=True)[:12].tolist()


def test_of_equal_scores_the_first_patch_is_kept() -> None:
    out = built()(drawn(1, 1, 28, 28), torch.zeros(1, 49), 12)
    assert out.kept[0].tolist() == [*range(12)]


def test_hidden_pixels_are_not_seen() -> None:
    mae, scores = built(), torch.arange(49.0)[None]
    images = drawn(1, 1, 28, 28)
    changed = images.clone()
    changed[..., :4, :4] += 10  # patch 0, of the lowest score
    before, after = mae(images, scores, 12), mae(changed, scores, 12)
    assert torch.equal(before.predicted, after.predicted)
    assert torch.equal(before.tokens_mean, after.tokens_mean)
    changed = images.clone()
    changed[..., 24:, 24:] += 10  # patch 48, of the highest
    assert not torch.equal(before.predicted, mae(changed, scores, 12).predicted)


def test_patches_go_back_to_their_places() -> None:
    """The order among the kept is the encoder's business: no prediction depends on it."""
    mae, images = built(), drawn(2, 1, 28, 28)
    kept = torch.tensor([3, 40, 17, 8, 22, 30, 1, 48, 11, 26, 35, 5])
    scores = torch.zeros(2, 49)
    scores[:, kept] = torch.arange(12, 0, -1.0)
    other = torch.zeros(2, 49)
    other[:, kept.flip(0)] = torch.arange(12, 0, -1.0)
    one, two = mae(images, scores, 12), mae(images, other, 12)
    assert not torch.equal(one.kept, two.kept)
    torch.testing.assert_close(one.predicted, two.predicted)
    torch.testing.assert_close(one.tokens_mean, two.tokens_mean)


def test_a_kept_patch_is_known_to_the_decoder_at_its_own_place() -> None:
    mae, images = built(), drawn(1, 1, 28, 28)
    seen: list[Tensor] = []
    mae.decoder_blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    scores = torch.zeros(1, 49)
    scores[0, 20] = 1
    mae(images, scores, 1)
    tokens = seen[0][0] - mae.decoder_positions
    hidden = [p for p in range(49) if p != 20]
    torch.testing.assert_close(tokens[1:][hidden], mae.mask_token[0].expand(48, -1))
    assert not torch.allclose(tokens[21], mae.mask_token[0, 0], atol=1e-3)


def test_cutting_and_putting_together_are_inverse() -> None:
    images = drawn(2, 3, 28, 28)
    patches = patchify(images, 4)
    assert patches.shape == (2, 49, 48)
    assert torch.equal(unpatchify(patches, 4, 3), images)
    assert torch.equal(patches[0, 8].view(4, 4, 3), images[0, :, 4:8, 4:8].permute(1, 2, 0))


def test_one_image_is_painted_as_it_is_among_others() -> None:
    mae, images, scores = built(), drawn(4, 1, 28, 28), drawn(4, 49, seed=1)
    together = mae(images, scores, 12).predicted
    alone = torch.cat([mae(images[i : i + 1], scores[i : i + 1], 12).predicted for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# Positions and blocks


def test_positions_differ_and_tell_rows_from_columns() -> None:
    positions = sincos_positions(7, 32, with_cls=True)
    assert positions.shape == (50, 32)
    assert bool((positions[0] == 0).all())
    assert len({tuple(row.tolist()) for row in positions}) == 50
    grid = positions[1:].view(7, 7, 32)
    assert torch.equal(grid[2, 0, :16], grid[2, 6, :16])
    assert torch.equal(grid[0, 2, 16:], grid[6, 2, 16:])


def test_a_block_attends_as_softmax_says() -> None:
    block = Block(8, heads=2)
    x = drawn(1, 3, 8)
    query, key, value = block.qkv(x)[0].view(3, 3, 2, 4).unbind(1)
    heads = []
    for head in range(2):
        weights = torch.softmax(query[:, head] @ key[:, head].mT / 2, dim=1)
        heads.append(weights @ value[:, head])
    torch.testing.assert_close(block._attend(x)[0], block.proj(torch.cat(heads, dim=1)))


# Masking


def masking(jitter: float, channels: int = 8, groups: int = 4) -> SemanticMasking:
    module = SemanticMasking(channels, groups)
    module.draw(torch.Generator().manual_seed(1), jitter)
    return module


def test_patch_scores_are_means_of_one_group() -> None:
    activations = drawn(3, 8, 4, 4).abs()
    group = torch.tensor([0, 3, 1])
    scores = masking(0.01).patch_scores(activations, group, 28, 7)
    for row in range(3):
        start = 2 * int(group[row])
        one = activations[row, start : start + 2].sum(0)[None, None]
        blown_up = nn.functional.interpolate(one, (28, 28), mode="bilinear")[0, 0]
        expected = [
            float(blown_up[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean())
            for y in range(7)
            for x in range(7)
        ]
        torch.testing.assert_close(scores[row], torch.tensor(expected))


def test_scores_carry_no_gradient() -> None:
    module = masking(0.01)
    activations = module.activations(drawn(2, 8, 4, 4))
    assert activations.requires_grad
    assert not module.patch_scores(activations, torch.tensor([0, 1]), 28, 7).requires_grad


def test_noise_breaks_the_symmetry_of_the_published_start() -> None:
    features = drawn(4, 8, 4, 4).abs()
    alike = masking(0.0).activations(features)
    torch.testing.assert_close(alike, alike[:, :1].expand_as(alike))
    broken = masking(0.01).activations(features)
    assert not torch.allclose(broken, broken[:, :1].expand_as(broken), atol=1e-3)


# Drawing


@pytest.mark.parametrize(
    "part",
    [
        lambda: MLPHead(6, 8, 4),
        lambda: ProjectionHead(6, 8, 4),
        lambda: Expander(6, 8, 4),
        lambda: SemanticMasking(8, 4),
        lambda: FaceMAE(FACE_MAE["tiny"](1)),
    ],
    ids=["mlp", "projection", "expander", "masking", "face_mae"],
)
def test_one_seed_is_one_part_and_the_global_generator_is_left_alone(part: object) -> None:
    assert callable(part)
    states = []
    for _ in range(2):
        with torch.device("meta"):
            module = part()
        module.to_empty(device="cpu")
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data.fill_(9)  # whatever its memory held before
        before = torch.random.get_rng_state()
        module.draw(torch.Generator().manual_seed(5))
        assert torch.equal(torch.random.get_rng_state(), before)
        states.append(module.state_dict())
    first, second = states
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(bool((tensor == 9).all()) for tensor in first.values())
