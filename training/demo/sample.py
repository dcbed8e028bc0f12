"""One picture of the demo data, drawn from (seed, category, split, defect, index), and its clean twin.

Every picture has a seed of its own and can be rendered alone, at any size.
"""

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import fabric, washer
from .canvas import Camera, close_gaps, make_canvas

CATEGORIES = ("washer", "fabric")
SPLITS = ("train", "test", "normal", "verify")
DEFECTS = {"washer": washer.DEFECTS, "fabric": fabric.DEFECTS}
_DRAW = {"washer": washer.draw, "fabric": fabric.draw}

_SUPERSAMPLE = 2
# A change below this many grey levels is lost in the grain: it is undone, and the mask ends there.
_VISIBLE = 2.0
# A defect changes at least this fraction of the picture, by at least this many grey levels on average.
_MIN_AREA, _MIN_CONTRAST = 0.0012, 10.0
# Both are judged at one size, so that every size shows the same defect.
_JUDGED_AT = 256


@dataclass(frozen=True)
class RenderedSample:
    """A picture with its ground truth.

    Attributes:
        image: the picture, uint8 [size,size,3].
        clean: the same picture without the defect, uint8 [size,size,3]; equal to `image` outside the mask.
        mask: 255 inside the defect, 0 elsewhere, uint8 [size,size].
        label: 1 for a defective part, 0 for a good one.
        defect: name of the defect, None for a good part.
    """

    image: np.ndarray
    clean: np.ndarray
    mask: np.ndarray
    label: int
    defect: str | None


def render(
    category: str, split: str, index: int, seed: int, size: int = 256, defect: str | None = None
) -> RenderedSample:
    """Render one picture of the demo data set.

    Args:
        category: one of `CATEGORIES`.
        split: one of `SPLITS`.
        index: number of the picture within its split and defect, from 0.
        seed: seed of the data set, 0 to 2**32 - 1.
        size: width and height in pixels, at least 64. Every size shows the same part; the grain differs.
        defect: one of `DEFECTS[category]`, or None for a good picture. Only the split `test` has defects.

    Returns:
        The picture, its clean twin and its mask.

    Raises:
        ValueError: an argument has another value.
    """
    check_arguments(category, split, index, seed, size, defect)

    def stream(name: str) -> np.random.Generator:
        key = zlib.crc32(f"{category}/{split}/{defect or 'good'}/{name}".encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(key, index))))

    camera = Camera.draw(stream("camera"))

    @cache
    def photograph(size: int, attempt: int | None = None) -> np.ndarray:
        canvas = make_canvas(size, _SUPERSAMPLE)
        shown = None if attempt is None else defect
        scene = _DRAW[category](canvas, stream("scene"), shown, stream(f"defect {attempt}"))
        return camera.expose(scene, canvas)

    clean = image = photograph(size)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        attempt = 0
        while not _is_visible(photograph(_JUDGED_AT, attempt), photograph(_JUDGED_AT)):
            attempt += 1
        mask = _visible_change(photograph(size, attempt), clean)[1]
        image = np.where(mask[..., None], photograph(size, attempt), clean)
    grain = camera.grain * stream("grain").standard_normal((size, size, 3))
    return RenderedSample(
        image=_grey_levels(image + grain),
        clean=_grey_levels(clean + grain),
        mask=mask.astype(np.uint8) * 255,
        label=int(defect is not None),
        defect=defect,
    )


def _visible_change(image: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of each pixel in grey levels, and the mask of the visible change."""
    change = np.abs(image - clean).max(axis=-1)
    return change, close_gaps(change > _VISIBLE, radius=max(1, len(clean) // 64))


def _is_visible(image: np.ndarray, clean: np.ndarray) -> bool:
    change, mask = _visible_change(image, clean)
    return mask.mean() >= _MIN_AREA and change[mask].mean() >= _MIN_CONTRAST


def _grey_levels(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def check_arguments(category: str, split: str, index: int, seed: int, size: int, defect: str | None) -> None:
    """Raise a ValueError that names the argument of `render` that is not allowed."""
    if category not in CATEGORIES:
        raise ValueError(f"`category` is {category!r}, must be one of {', '.join(CATEGORIES)}")
    if split not in SPLITS:
        raise ValueError(f"`split` is {split!r}, must be one of {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"`index` is {index}, must be 0 or more")
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` is {seed}, must be between 0 and 2**32 - 1")
    if size < 64:
        raise ValueError(f"`size` is {size}, must be at least 64 pixels")
    if defect is not None and defect not in DEFECTS[category]:
        raise ValueError(
            f"`defect` is {defect!r}, must be None or, for {category}, one of {', '.join(DEFECTS[category])}"
        )
    if defect is not None and split != "test":
        raise ValueError(f"`defect` is {defect!r} in `split` {split!r}: only 'test' has defects, use None")
