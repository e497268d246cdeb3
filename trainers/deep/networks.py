"""Encoder and head put together, from a plan small enough to be written into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from trainers.base import TrainingError
from trainers.center_loss import CenterLoss
from trainers.crops import Crops
from trainers.deep import checkpoints
from trainers.deep.cropping import Cropper
from trainers.deep.importing import ImportedEncoder, read_encoder_file, read_parts
from trainers.deep.nets.attention import AttentionNet
from trainers.deep.nets.heads import DropPath, LinearHead, SeededDropout
from trainers.deep.nets.poster import SHAPES, PosterV2
from trainers.deep.nets.poster_v1 import SHAPES as V1_SHAPES
from trainers.deep.nets.poster_v1 import PosterV1
from trainers.deep.nets.resnet_cifar import CifarResNet
from trainers.deep.nets.vgg import FERVGG, SIDE
from trainers.encoders import DEFAULT_WIDTHS, Encoder, EncoderName

BLOCKS = {"resnet18_cifar": (2, 2, 2, 2), "resnet10_narrow": (1, 1, 1, 1)}

POSTERS = SHAPES.keys() | V1_SHAPES.keys()
"""Networks that see colours alone, as their backbones do."""


@dataclass(frozen=True)
class Plan:
    """What it takes to build a network again."""

    encoder: EncoderName
    width: int  # of the first stage; 0 where the architecture fixes it
    in_channels: int
    num_classes: int
    dropout: float
    has_centers: bool = False  # of the classes, for a centre loss
    attention: tuple[int, ...] = ()  # values of the last map, and widths; none: no attention
    crop: int = 0  # side of the crops that stand for an image; 0: the image itself
    ten: bool = True
    erasing: float = 0.0
    frozen: tuple[str, ...] = ()  # parts of the encoder that never change
    mirrors: bool = False  # whether views of an image come mirrored too, in evaluation mode


class Network(nn.Module):
    """Images (B, Ch, H, W) float32, normalised -> logits (B, C), embeddings (B, D), float32.

    Grey images are repeated where the encoder was made for three channels. In evaluation mode an
    image has the mean embedding of its views: its crops, or the image itself, each mirrored too
    where the plan says so. In training each crop is a row of its own, those of an image one after
    the other, and there are no mirrors.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.encoder = build_encoder(plan)
        self.crops = Cropper(plan.crop, ten=plan.ten, erasing=plan.erasing) if plan.crop else None
        for part in self._frozen:
            part.requires_grad_(requires_grad=False)
        self.head = LinearHead(self.embedding_width, plan.num_classes, plan.dropout)
        if plan.has_centers:
            self.register_buffer("centers", torch.empty(plan.num_classes, self.embedding_width))
        if plan.attention:
            values, *hidden = plan.attention
            self.attention = AttentionNet(values, hidden, self.embedding_width)

    @property
    def embedding_width(self) -> int:
        return cast("int", self.encoder.embedding_width)  # an int on every encoder of this room

    @property
    def _frozen(self) -> list[nn.Module]:
        return [self.encoder.get_submodule(name) for name in self.plan.frozen]

    @override
    def train(self, mode: bool = True) -> Network:
        """As ever, but that statistics of frozen parts stay as they are."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        images = self._widened(images)
        seen = images if self.crops is None else self.crops(images)
        if self.training:
            return cast("Tensor", self.encoder(seen))
        # A view at a time: ten times the images would be ten times the memory.
        views = (images,) if self.crops is None else seen.unflatten(0, (len(images), -1)).unbind(1)
        if self.plan.mirrors:
            views = (*views, *(view.flip(-1) for view in views))
        if len(views) == 1:
            return cast("Tensor", self.encoder(views[0]))
        return torch.stack([self.encoder(view) for view in views]).mean(0)

    def central_view(self, images: Tensor) -> Tensor:
        """The one view that stands for an image where there may be one only: its central crop.

        Without crops it is the image.
        """
        images = self._widened(images)
        return images if self.crops is None else self.crops.central(images)

    def _widened(self, images: Tensor) -> Tensor:
        if images.shape[1] == self.plan.in_channels:
            return images
        return images.expand(-1, self.plan.in_channels, -1, -1)

    def reseed(self, seed: int, epoch: int) -> None:
        """Sets all chance of an epoch's training."""
        self.head.dropout.reseed(seed, "dropout", epoch)
        layers = [m for m in self.encoder.modules() if isinstance(m, SeededDropout | DropPath)]
        for number, layer in enumerate(layers):
            layer.reseed(seed, "dropout", epoch, number)
        if self.crops is not None:
            self.crops.reseed(seed, "crops", epoch)

    def attend(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, embeddings, and for a centre loss the weight (B, D) of each dimension.

        Weights are 1 without an attention network.
        """
        images = self._widened(images)
        maps: Tensor = self.encoder.maps(images)  # type: ignore[operator]
        embeddings = maps.mean((2, 3), dtype=torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits: Tensor = self.head(embeddings)
        if not self.plan.attention:
            return logits, embeddings, torch.ones_like(embeddings)
        return logits, embeddings, self.attention(maps.flatten(1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.embed(images)
        # Outside of autocast: bfloat16 logits have ties, and ties are where queries are decided.
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.head(embeddings), embeddings


def build_encoder(plan: Plan) -> nn.Module:
    """An encoder of this plan, with weights as its constructor leaves them."""
    if plan.encoder == "resnet18" or plan.encoder == "resnet50":
        # torchvision takes a second to import, and most runs do without.
        from trainers.deep.nets.torchvision_nets import TorchvisionResNet

        return TorchvisionResNet(plan.encoder, in_channels=plan.in_channels)
    if plan.encoder in SHAPES:
        return PosterV2(SHAPES[plan.encoder], width=plan.width or 64)
    if plan.encoder in V1_SHAPES:
        return PosterV1(V1_SHAPES[plan.encoder], width=plan.width or 64)
    if plan.encoder == "vgg_fer":
        return FERVGG(width=plan.width, in_channels=plan.in_channels)
    return CifarResNet(blocks=BLOCKS[plan.encoder], width=plan.width, in_channels=plan.in_channels)


def plan_network(
    encoder: Encoder, *, image_channels: int, num_classes: int, dropout: float
) -> tuple[Plan, ImportedEncoder | None]:
    """The plan for images of so many channels, and what the encoder's file holds, if it has one.

    Raises:
        TrainingError: The file is missing, does not fit the network, or needs other images.
    """
    width = encoder.width or DEFAULT_WIDTHS.get(encoder.name, 0)
    rest = (num_classes, dropout)
    channels = 3 if encoder.name in POSTERS else image_channels
    plan = Plan(encoder.name, width, channels, *rest, frozen=encoder.freeze)
    _check_parts(plan, encoder)
    if encoder.parts:
        return plan, read_parts(encoder, shapes_of(plan))
    if encoder.weights is None:
        return plan, None
    names = shapes_of(plan).keys()
    imported = read_encoder_file(encoder.weights, encoder, names)
    in_channels = imported.in_channels or channels
    if in_channels not in (image_channels, 3) or image_channels not in (in_channels, 1):
        raise TrainingError(
            f"{encoder.weights} was trained on images of {in_channels} channels, the dataset has "
            f"{image_channels}; take another encoder, or convert the dataset"
        )
    plan = replace(plan, in_channels=in_channels)
    return plan, imported.fitted_to(shapes_of(plan), encoder)


def _check_parts(plan: Plan, encoder: Encoder) -> None:
    if not (encoder.parts or encoder.freeze):
        return
    with torch.device("meta"):
        known = {name for name, _ in build_encoder(plan).named_modules() if name}
    unknown = [name for name in (*encoder.parts, *encoder.freeze) if name not in known]
    if unknown:
        tops = ", ".join(sorted(name for name in known if "." not in name))
        raise TrainingError(
            f"{encoder.name} has no part {', '.join(unknown)}; its parts are {tops}"
        )


def shapes_of(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an encoder's weights, without the cost of drawing them."""
    with torch.device("meta"):
        encoder = build_encoder(plan)
    return {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}


def build_network(plan: Plan, rng: torch.Generator) -> Network:
    """A network whose every weight is drawn from `rng`."""
    network = blank_network(plan)
    draw_weights(network.encoder, rng)
    draw_weights(network.head, rng)
    if plan.attention:
        network.attention.draw(rng)
    if plan.has_centers:
        std = (2 / plan.num_classes) ** 0.5  # Kaiming's, of the transposed matrix
        cast("Tensor", network.centers).normal_(std=std, generator=rng)
    return network


def with_views(plan: Plan, crops: Crops | None, *, mirrors: bool) -> Plan:
    """The plan for views of images."""
    if crops is not None:
        plan = replace(plan, crop=crops.size, ten=crops.ten, erasing=crops.erasing)
    return replace(plan, mirrors=mirrors)


def with_centers(plan: Plan, settings: CenterLoss | None, size: tuple[int, int]) -> Plan:
    """The plan for a centre loss on images of this (H, W)."""
    if settings is None:
        return plan
    if settings.kind == "plain":
        return replace(plan, has_centers=True)
    with torch.device("meta"):
        maps: Tensor = build_encoder(plan).maps(torch.empty(1, plan.in_channels, *size))  # type: ignore[operator]
    return replace(plan, has_centers=True, attention=(maps[0].numel(), *settings.hidden))


def blank_network(plan: Plan) -> Network:
    """A network whose weights are yet to be filled in: whatever its memory held before."""
    with torch.device("meta"):
        network = Network(plan)
    network.to_empty(device="cpu")
    return network


def draw_weights(network: nn.Module, rng: torch.Generator) -> None:
    """Draws all weights anew, as torch's own constructors do: uniform in ±1/√fan-in.

    Those constructors read the global generator; this does not, and so one seed is one network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.Linear):
            bound = float(module.weight[0].numel()) ** -0.5
            with torch.no_grad():
                for tensor in module.parameters():
                    tensor.uniform_(-bound, bound, generator=rng)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.PReLU):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, PosterV1 | PosterV2):
            module.draw(rng)


def encoder_digest(network: Network) -> str:
    return checkpoints.digest_of_weights(network.encoder.state_dict())


def save_learner(path: Path, network: Network, meta: Mapping[str, object]) -> str:
    """Writes a network with what it takes to build it again; returns the digest of its weights."""
    weights = checkpoints.on_cpu(network.state_dict())
    digest = checkpoints.digest_of_weights(weights)
    content = {**meta, "plan": asdict(network.plan), "digest": digest}
    checkpoints.save(path, {"weights": weights, "meta": content})
    return digest


def load_learner(path: Path) -> tuple[Network, dict[str, object]]:
    """The network of a checkpoint, on the CPU, and the checkpoint's meta data.

    Raises:
        TrainingError: It is not a learner's checkpoint, or its weights are not those written.
    """
    content = checkpoints.load(path)
    meta, weights = content.get("meta"), content.get("weights")
    if not isinstance(meta, dict) or not isinstance(weights, dict) or "plan" not in meta:
        raise TrainingError(
            f"{path} is not a learner's checkpoint: it has {sorted(content)} where weights and "
            "meta are needed; give encoder files to encoder.weights instead"
        )
    network = blank_network(Plan(**meta["plan"]))
    network.load_state_dict(weights)
    if checkpoints.digest_of_weights(network.state_dict()) != meta["digest"]:
        raise TrainingError(f"{path}: its weights are not those it was written with; train again")
    return network, meta


def check_encoder(encoder: Encoder, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Refuses an encoder that cannot serve images of this shape (H, W, Ch).

    Raises:
        TrainingError: With the reason and the way out.
    """
    height, width, channels = image_shape
    least = 32 if encoder.name in ("resnet18", "resnet50") else 8
    if min(height, width) < least:
        raise TrainingError(
            f"{encoder.name} needs images of {least} pixels and more, these are {height}x{width}; "
            "take an encoder with a 3x3 stem, or enlarge the images"
        )
    if encoder.name == "vgg_fer" and (height, width) != (SIDE, SIDE):
        raise TrainingError(
            f"vgg_fer sees {SIDE}x{SIDE} pixels, these are {height}x{width}; set trainer.crops: "
            f"{{size: {SIDE}}} (of fer_classifier), or dataset.image_size"
        )
    if num_classes < 2:
        raise TrainingError(f"there is {num_classes} class; a classifier needs two or more")
    plan_network(encoder, image_channels=channels, num_classes=num_classes, dropout=0.0)
