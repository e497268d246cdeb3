"""Which network turns an image into an embedding, and where its weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.pretrainers import AnyPretrainer

EncoderName = Literal[
    "resnet18_cifar",
    "resnet10_narrow",
    "resnet18",
    "resnet50",
    "vgg_fer",
    "poster_v1_small",
    "poster_v1_base",
    "poster_v1_large",
    "poster_v1_narrow",
    "poster_v1_small_affect",
    "poster_v1_base_affect",
    "poster_v1_large_affect",
    "poster_v1_narrow_affect",
    "poster_v2",
    "poster_v2_narrow",
]

ChannelOrder = Literal["rgb", "bgr"]

DEFAULT_WIDTHS = {
    "resnet18_cifar": 64,
    "resnet10_narrow": 16,
    "vgg_fer": 64,
    "poster_v1_narrow": 16,
    "poster_v1_narrow_affect": 16,
    "poster_v2_narrow": 16,
}
"""Channels of the first of its stages; each later stage has twice as many."""

POOLED = ("resnet18_cifar", "resnet10_narrow", "resnet18", "resnet50")
"""Those whose embedding is the mean of their last map."""


class Encoder(BaseModel):
    """A network up to its embedding, for residual ones the global average pool.

    `resnet18_cifar` and `resnet10_narrow` have a 3x3 stem without pooling, for small images;
    `resnet18` and `resnet50` are torchvision's, for 96 pixels and more; `vgg_fer` is the VGG of
    usef-kh/fer for crops of 40 pixels, with two wide layers after its last map; `poster_v2` is
    POSTER V2, which sees 112 pixels and has an image network, a landmark network and a transformer,
    `poster_v2_narrow` the same for 32 pixels. `poster_v1_small`, `_base` and `_large` are POSTER
    with pyramids of 4, 6 and 8 blocks, `poster_v1_narrow` is one of 2 for 32 pixels; with `_affect`
    after the name blocks mix no tokens, as published for AffectNet.

    The network takes as many channels as the images have, unless `weights` were trained on three
    channels, or it is a POSTER: then grey images are repeated.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    name: EncoderName = "resnet18_cifar"
    """Architecture."""
    width: int | None = Field(default=None, ge=1)
    """Channels of the first stage of a 3x3-stem network; its published width if not given."""
    weights: Path | None = None
    """Checkpoint to start from: ours, a contrastive `last.pth`, or a plain state dict."""
    pretrain: AnyPretrainer | None = None
    """How to learn the weights from the pool's images, or those of `pretrain_on`, before the first
    round; done once for the same images, method and seed, and kept in the workspace."""
    parts: dict[str, Path] = Field(default_factory=dict)
    """Files for parts of the network by name, the rest being drawn; `{ir_back: ir50.pth,
    face_landback: mobilefacenet.pth.tar}` of a POSTER."""
    freeze: tuple[str, ...] = ()
    """Parts that are not trained, statistics of their batch norm included; `[face_landback]`."""
    channel_order: ChannelOrder = "rgb"
    """In which order the network of the file saw colours. Images here are RGB: a network that saw
    BGR, as OpenCV reads images, has its first layers turned round when the file is read."""
    prefix: str | None = None
    """What the encoder's names begin with in the file; found among known ones if not given."""
    allow_missing: tuple[str, ...] = ()
    """Names (`*` matches any run of characters) the file may lack or hold in another shape; these
    are drawn anew."""
    allow_unexpected: tuple[str, ...] = ()
    """Names (`*` matches) in the file that are left aside; classification heads always are."""

    @model_validator(mode="after")
    def _width_is_of_a_narrowable_network(self) -> Encoder:
        if self.width is not None and self.name not in DEFAULT_WIDTHS:
            raise ValueError(
                f"{self.name} has a fixed width; leave `width` out or take one of "
                f"{', '.join(DEFAULT_WIDTHS)}"
            )
        return self

    @model_validator(mode="after")
    def _weights_have_one_source(self) -> Encoder:
        if self.pretrain is not None and self.weights is not None:
            raise ValueError(
                "pretrain starts from fresh weights and would never read weights "
                f"({self.weights}); leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _parts_stand_alone(self) -> Encoder:
        if self.parts and self.has_source:
            raise ValueError("parts and weights or pretrain are two sources; leave one out")
        if self.pretrain is not None and self.name not in POOLED:
            raise ValueError(
                f"pretraining is for networks that pool their last map ({', '.join(POOLED)}), "
                f"which {self.name} does not"
            )
        return self

    @model_validator(mode="after")
    def _colours_are_of_a_file(self) -> Encoder:
        if self.channel_order == "bgr" and self.weights is None and not self.parts:
            raise ValueError(
                "channel_order bgr says how the network of a file saw colours, and there is no "
                "file; give weights or parts, or leave it out"
            )
        return self

    @property
    def reads_files(self) -> bool:
        """Whether any of its weights come from somewhere."""
        return self.has_source or bool(self.parts)

    @property
    def has_source(self) -> bool:
        """Whether all its weights come from a file, or a pretraining still to be done."""
        return self.weights is not None or self.pretrain is not None

    @property
    def channels(self) -> int:
        """Channels of its last map."""
        if self.name in DEFAULT_WIDTHS:
            return 8 * (self.width or DEFAULT_WIDTHS[self.name])
        return 2048 if self.name == "resnet50" else 512

    def adopt(self, to: Path) -> Mapping[str, tuple[str, ...]]:
        """Writes what this network takes over of its file to `to`, under our own names.

        Returns:
            The names that were matched, missing, unexpected, mismatched and ignored.

        Raises:
            TrainingError: The file cannot be read or fits only in part, and no list allows it.
        """
        from trainers.deep.importing import adopt_encoder

        return adopt_encoder(self, to)

    def pretrained(self, weights: Path) -> Encoder:
        """The same encoder once its pretraining has left this file."""
        return self.model_copy(update={"weights": weights, "pretrain": None})


def with_default_policy(fields: object) -> object:
    """Fills in the weight policy of a trainer's raw fields: what the encoder's source suggests.

    A pydantic validator of mode "before"; what is not a mapping is left to pydantic to refuse.
    """
    if not isinstance(fields, dict) or "weights" in fields:
        return fields
    encoder = fields.get("encoder")
    if isinstance(encoder, dict):
        has_source = any(encoder.get(key) for key in ("weights", "pretrain", "parts"))
    else:
        has_source = isinstance(encoder, Encoder) and encoder.reads_files
    return {**fields, "weights": "from_pretrained" if has_source else "from_scratch"}
