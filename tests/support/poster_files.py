"""What a published file of POSTER is like: how it calls things, and what of it nobody needs."""

from __future__ import annotations

_NORMS = {
    "ir_back.output_layer.0": 512,
    "ir_back.output_layer.4": 512,
    "face_landback.output_layer.conv_6_dw.bn": 512,
    "face_landback.output_layer.bn": 136,
}
_STAGES = {"body1.0": "body.0", "body2.0": "body.3", "body3.0": "body.7"}  # of an IR-50, numbered

UNUSED: dict[str, tuple[int, ...]] = {
    **{
        f"{norm}.{each}": (size,)
        for norm, size in _NORMS.items()
        for each in ("weight", "bias", "running_mean", "running_var")
    },
    **{f"{norm}.num_batches_tracked": () for norm in _NORMS},
    "ir_back.output_layer.3.weight": (512, 25088),
    "ir_back.output_layer.3.bias": (512,),
    "face_landback.output_layer.conv_6_dw.conv.weight": (512, 1, 7, 7),
    "face_landback.output_layer.linear.weight": (136, 512),
    "pyramid_fuse.cls_token": (1, 1, 512),
}
"""Shapes of what it holds beside its head and what outputs depend on."""


def in_published_layout(name: str) -> str:
    """What it calls a tensor of ours, for units 1/1/1 standing for 3/4/14."""
    for ours, theirs in _STAGES.items():
        name = name.replace(f"ir_back.{ours}", f"ir_back.{theirs}")
    return f"module.{name}"
