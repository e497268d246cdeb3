"""Random views of images, for methods that learn from two views of one image."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ContrastiveViews(BaseModel):
    """A part of the image, blown up, perhaps mirrored, its colours changed, perhaps blurred.

    Defaults are those of ActiveFER's pretraining (Roy & Etemad 2023, arXiv 2307.02744). On grey
    images saturation, hue and `grey` change nothing.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    size: int | None = Field(default=None, ge=8)
    """Side of the square view in pixels; the image's own size if not given."""
    min_area: float = Field(default=0.2, gt=0, le=1)
    """Smallest share of the image's area that is kept."""
    max_area: float = Field(default=1.0, gt=0, le=1)
    """Largest share of it."""
    max_aspect: float = Field(default=4 / 3, ge=1)
    """Largest ratio of the part's sides, either way."""
    flip: bool = True
    """Mirror every other image, by chance."""
    jitter: float = Field(default=0.8, ge=0, le=1)
    """Share of the images whose colours are changed."""
    brightness: float = Field(default=0.4, ge=0)
    """Brightness is multiplied by up to 1 plus or minus this."""
    contrast: float = Field(default=0.4, ge=0)
    """The same of contrast."""
    saturation: float = Field(default=0.4, ge=0)
    """The same of saturation."""
    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Hue is turned by up to this share of the circle, either way."""
    grey: float = Field(default=0.2, ge=0, le=1)
    """Share of the images that are turned grey."""
    blur: float = Field(default=0.0, ge=0, le=1)
    """Share of the images that are blurred by a Gaussian ..."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """... of a deviation between these, in pixels ..."""
    blur_kernel: int | None = Field(default=None, ge=3)
    """... over so many pixels, an odd number; a tenth of the view if not given."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> ContrastiveViews:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area} exceeds max_area {self.max_area}")
        least, most = self.blur_sigma
        if not 0 < least <= most:
            raise ValueError(f"blur_sigma {self.blur_sigma} has to rise from above 0")
        if self.blur_kernel is not None and self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel {self.blur_kernel} has no middle; take an odd number")
        return self
