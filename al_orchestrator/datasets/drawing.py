"""Draws faces as grey images: shapes over a grid, a batch at a time.

Coordinates: x to the right, y down, the face centred at the origin and about 1.7 high; a picture
spans [-1.1, 1.1]. Only sums, products, quotients, square roots and clipping are used. IEEE 754
rounds all of these exactly, so every machine draws the same pixels. Axes: ``B`` faces, ``S`` side
of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.counter_random import derive_key, draw_bell
from al_orchestrator.datasets.expressions import ACTIONS, LIGHT, OBSTACLE, POSE, TRAITS, Faces, Rows

Floats = npt.NDArray[np.float32]

Columns = Mapping[str, Floats]
"""One number a face, (B, 1, 1), by name."""

_SPAN = 1.1
_EYE_Y = -0.14
_MOUTH_Y = 0.42


def draw_faces(
    faces: Faces, image_size: int, *, noise: float, key: int, items: Rows
) -> npt.NDArray[np.uint8]:
    """Pictures (B, S, S) of these faces.

    Args:
        faces: What to draw.
        image_size: S.
        noise: Deviation of the sensor noise, as a share of the full range.
        key: Stream of the noise.
        items: Items (B,) of that stream, one a face.
    """
    sheet = _blank_sheet(faces, image_size)
    _draw_head(sheet)
    _draw_eyes(sheet)
    _draw_brows(sheet)
    _draw_nose(sheet)
    _draw_mouth(sheet)
    _draw_glasses(sheet)
    _draw_obstacle(sheet, faces)
    _shine(sheet)
    grain = draw_bell(derive_key(key, "grain"), items, image_size * image_size)
    sheet.picture += noise * grain.reshape(sheet.picture.shape)
    return np.rint(np.clip(sheet.picture, 0, 1) * 255).astype(np.uint8)


@dataclass
class _Sheet:
    """Pictures in the making; all arrays are float32."""

    picture: Floats  # (B, S, S) in [0, 1]
    x: Floats  # (B, S, S) upright coordinates of the head
    y: Floats
    front_x: Floats  # (B, S, S) the same for what lies on the front of the face and turns with it
    front_y: Floats
    side_x: Floats  # (B, S, S) |front_x|: what comes in pairs is drawn once
    pixel: float  # width of a pixel
    action: Columns
    person: Columns
    light: Columns
    skin: Floats  # (B, 1, 1)

    def inside(self, distance: Floats) -> Floats:
        """How much of each pixel lies inside a shape, from the signed distance to its edge."""
        covered: Floats = np.clip(0.5 - distance / self.pixel, 0, 1)
        return covered

    def paint(self, cover: Floats, tone: Floats | float) -> None:
        self.picture += cover * (tone - self.picture)


def _blank_sheet(faces: Faces, image_size: int) -> _Sheet:
    """Empty pictures and their coordinates: moved, turned and scaled as each head is held."""
    pose = _columns(faces.pose, POSE)
    ticks = (np.arange(image_size, dtype=np.float32) * 2 + 1 - image_size) * _SPAN / image_size
    scale = 1.1 + 0.03 * pose["zoom"]
    x = (ticks[None, None, :] - 0.03 * pose["right"]) / scale
    y = (ticks[None, :, None] - 0.03 * pose["down"]) / scale
    # The tangent of half the angle gives a rotation without a sine: exact everywhere.
    half = 0.03 * pose["roll"]
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = cosine * x + sine * y, cosine * y - sine * x
    front_x = x - 0.04 * pose["yaw"]
    person = _columns(faces.person, TRAITS)
    return _Sheet(
        picture=np.zeros_like(x),
        x=x,
        y=y,
        front_x=front_x,
        front_y=y - 0.025 * pose["pitch"],
        side_x=np.abs(front_x),
        pixel=2 * _SPAN / image_size,
        action=_columns(faces.actions, ACTIONS),
        person=person,
        light=_columns(faces.light, LIGHT),
        skin=0.55 + 0.32 * person["skin"],
    )


def _columns(table: npt.NDArray[np.float64], names: tuple[str, ...]) -> Columns:
    columns = table.astype(np.float32)[:, None, None, :]
    return {name: columns[..., place] for place, name in enumerate(names)}


def _ellipse(x: Floats, y: Floats, width: Floats | float, height: Floats | float) -> Floats:
    """About the signed distance to an ellipse with these half axes."""
    across, along = x / width, y / height
    shorter: Floats = np.minimum(width, height, dtype=np.float32)
    distance: Floats = (np.sqrt(across * across + along * along) - 1) * shorter
    return distance


def _draw_head(sheet: _Sheet) -> None:
    person, light = sheet.person, sheet.light
    hair_tone = 0.04 + 0.36 * person["hair"] * person["hair"]
    face_width = 0.56 + 0.1 * person["width"]
    sheet.picture += 0.2 + 0.45 * light["backdrop"] + 0.2 * (light["slope"] - 0.5) * sheet.x
    shoulders = _ellipse(sheet.x, sheet.y - 1.25, 0.95, 0.42)
    sheet.paint(sheet.inside(shoulders), 0.2 + 0.5 * person["clothes"])
    drop = np.where(person["length"] > 0.5, np.float32(0.3), np.float32(-0.12))
    mane = _ellipse(sheet.x, sheet.y - drop, face_width + 0.13, 0.92)
    sheet.paint(sheet.inside(np.maximum(mane, sheet.y - drop - 0.6)), hair_tone)
    sheet.paint(sheet.inside(np.maximum(np.abs(sheet.x) - 0.25, 0.5 - sheet.y)), sheet.skin * 0.8)
    face = _ellipse(sheet.x, sheet.y - 0.03, face_width, 0.83)
    depth = np.clip(face / face_width + 1, 0, 1)
    sheet.paint(sheet.inside(face), sheet.skin * (1 - 0.25 * depth * depth))
    fringe = sheet.y + 0.5 + 0.18 * person["hairline"] + 0.25 * sheet.x * sheet.x
    sheet.paint(sheet.inside(np.maximum(face, fringe)), hair_tone)
    # A beard follows the jaw and leaves the mouth free.
    jaw = np.maximum(face, 0.1 + 0.4 * (0.5 - np.abs(sheet.x)) - sheet.y)
    jaw = np.maximum(jaw, -_ellipse(sheet.x, sheet.y - _MOUTH_Y, 0.3, 0.16))
    sheet.paint(sheet.inside(jaw) * np.where(person["beard"] > 0.86, np.float32(0.6), 0), hair_tone)


def _draw_eyes(sheet: _Sheet) -> None:
    gap, gaze = 0.25 + 0.05 * sheet.person["eye_gap"], 0.05 * (sheet.light["gaze"] - 0.5)
    x, y = sheet.side_x - gap, sheet.front_y - _EYE_Y
    opening = np.clip(0.085 * (1 + sheet.action["eye_open"]), 0.012, 0.17)
    eye = _ellipse(x, y, 0.15, opening)
    sheet.paint(sheet.inside(eye - 0.028), sheet.skin * 0.55)
    sheet.paint(sheet.inside(eye), 0.92)
    # The gaze goes one way, so the iris cannot be mirrored.
    across = np.abs(sheet.front_x - gaze) - gap
    iris = _ellipse(across, y, 0.062, 0.068)
    sheet.paint(sheet.inside(np.maximum(iris, eye)), 0.1)
    bag = np.abs(y - opening - 0.05) + 0.6 * np.clip(np.abs(x) - 0.09, 0, 1) - 0.008
    sheet.paint(0.35 * sheet.inside(bag), sheet.skin * 0.6)


def _draw_brows(sheet: _Sheet) -> None:
    gap = 0.25 + 0.05 * sheet.person["eye_gap"]
    thickness = 0.034 + 0.02 * sheet.person["brow_thickness"]
    lift, tilt = sheet.action["brow_raise"], sheet.action["brow_tilt"]
    along = (sheet.side_x - gap) / 0.17
    height = _EYE_Y - 0.19 - 0.085 * lift + 0.09 * tilt * along + 0.03 * along * along
    brow = np.maximum(np.abs(sheet.front_y - height) - thickness, (np.abs(along) - 1) * 0.17)
    sheet.paint(sheet.inside(brow), 0.04 + 0.3 * sheet.person["hair"] * sheet.person["hair"])
    frown = np.maximum(np.abs(sheet.side_x - 0.045) - 0.012, np.abs(sheet.front_y + 0.3) - 0.07)
    depth: Floats = np.clip(-0.4 * tilt - 0.3 * lift, 0, 0.7)
    sheet.paint(depth * sheet.inside(frown), sheet.skin * 0.45)


def _draw_nose(sheet: _Sheet) -> None:
    wrinkle: Floats = np.clip(sheet.action["nose_wrinkle"], 0, 1.2)
    x: Floats = sheet.front_x
    y: Floats = sheet.front_y - 0.16 + 0.05 * wrinkle
    ridge = np.maximum(np.abs(x - 0.06) - 0.012, np.abs(y + 0.12) - 0.14)
    sheet.paint(0.5 * sheet.inside(ridge), sheet.skin * 0.75)
    sheet.paint(0.8 * sheet.inside(_ellipse(x, y - 0.03, 0.11, 0.03)), sheet.skin * 0.5)
    # Folds beside the nose: level ones for disgust, and the arcs a smile pushes outwards.
    for height in (-0.06, -0.15):
        fold = np.abs(y - height + 0.5 * (sheet.side_x - 0.1)) - 0.014
        fold = np.maximum(fold, np.abs(sheet.side_x - 0.09) - 0.065)
        sheet.paint(np.clip(0.8 * wrinkle, 0, 1) * sheet.inside(fold), sheet.skin * 0.4)
    smile: Floats = np.clip(sheet.action["mouth_curve"], 0, 1) + 0.6 * wrinkle
    arc = np.abs(_ellipse(sheet.side_x, sheet.front_y - 0.38, 0.36, 0.25)) - 0.014
    arc = np.maximum(arc, np.maximum(sheet.front_y - 0.4, 0.2 - sheet.side_x))
    sheet.paint(np.clip(0.6 * smile, 0, 0.7) * sheet.inside(arc), sheet.skin * 0.55)


def _draw_mouth(sheet: _Sheet) -> None:
    curve, lip = sheet.action["mouth_curve"], np.clip(sheet.action["lip_raise"], 0, 1.2)
    half = 0.28 * (1 + 0.5 * np.clip(sheet.action["mouth_width"], -0.7, 0.8))
    along = sheet.front_x / half
    arch = np.clip(1 - along * along, 0, 1)
    # Corners rise with a smile and fall with a frown; a raised lip bends the upper edge alone.
    middle = _MOUTH_Y + 0.2 * curve * (arch - 0.55) - 0.03 * lip
    gape = 0.22 * np.clip(sheet.action["mouth_open"], 0, 1.2) * np.sqrt(arch)
    upper = middle - 0.35 * gape - 0.09 * lip * arch
    lower = middle + gape
    y, ends = sheet.front_y, (np.abs(along) - 1) * half
    within = np.maximum(np.maximum(upper - y, y - lower), ends)
    rim = 0.022 + 0.022 * sheet.person["lip_thickness"]
    sheet.paint(sheet.inside(within - rim), sheet.skin * (0.45 + 0.15 * sheet.person["lip_tone"]))
    sheet.paint(sheet.inside(np.maximum(within, -0.01) - 0.004), 0.08)
    teeth = np.maximum(within + 0.012, y - upper - 0.075)
    shown = np.clip(4 * sheet.action["mouth_open"] + lip - 0.2, 0, 1)
    sheet.paint(shown * sheet.inside(teeth), 0.88)


def _draw_glasses(sheet: _Sheet) -> None:
    wears = np.where(sheet.person["glasses"] < 0.13, np.float32(0.9), np.float32(0))
    x, y = sheet.side_x - 0.27, sheet.front_y - _EYE_Y - 0.02
    ring = np.abs(_ellipse(x, y, 0.2, 0.165)) - 0.02
    bridge = np.maximum(sheet.side_x - 0.08, np.abs(y) - 0.018)
    sheet.paint(wears * sheet.inside(np.minimum(ring, bridge)), 0.06)


def _draw_obstacle(sheet: _Sheet, faces: Faces) -> None:
    """A hand, a scarf or a pole before some faces: an ellipse or a bar anywhere on them."""
    thing = _columns(faces.obstacle, OBSTACLE)
    x, y = sheet.x - 1.1 * (thing["right"] - 0.5), sheet.y - 1.3 * (thing["down"] - 0.45)
    blob = _ellipse(x, y, 0.2 + 0.2 * thing["size"], 0.38 - 0.2 * thing["size"])
    bar = np.abs(y + 0.3 * x) - 0.09 - 0.1 * thing["size"]
    is_there = faces.is_occluded[:, None, None].astype(np.float32)
    shape = np.where(thing["shape"] < 0.5, blob, bar)
    sheet.paint(is_there * sheet.inside(shape), 0.1 + 0.75 * thing["tone"])


def _shine(sheet: _Sheet) -> None:
    """Light from one side, exposure and contrast."""
    side, top, gain, contrast = (
        2 * sheet.light[name] - 1 for name in ("side", "top", "gain", "contrast")
    )
    lit = 1 + 0.12 * gain + 0.2 * side * sheet.x + 0.1 * top * sheet.y
    sheet.picture *= lit
    sheet.picture += 0.15 * contrast * (sheet.picture - 0.5)
