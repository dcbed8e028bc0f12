"""Foreground masks of objects: the paper pastes defects only within the object.

The paper takes masks computed beforehand; here they come from a folder, from a classical method that
needs only scikit-image, or from a matting model where `rembg` is installed. A source returns None
rather than guess.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from diffusionad.images.image_io import resize

from ..data.masks import read_mask
from ..data.records import by_stem, pictures

WORKING_SIDE = 256  # the classical method looks at the picture at this size
CONTOUR_MIN = 0.35  # fall of the distance over six pixels at the contour, in thresholds; a shade has 0.2
AREA_MIN, AREA_MAX = 0.03, 0.95  # a mask below or above these fractions of the picture says nothing
SOURCES = ("classical", "rembg", "none")

ForegroundSource = Callable[[np.ndarray, Path], np.ndarray | None]


def foreground_mask(image: np.ndarray) -> np.ndarray | None:
    """Find one or more objects on a plain background.

    The background is a smooth surface fitted to the picture's border, so that uneven light does no harm;
    Otsu's threshold divides the distances from it.

    Args:
        image: float32 [H,W,3] in [0, 1].

    Returns:
        bool [H,W]. None where the method fails: the border is as far from the background as the rest (a
        texture), the contour is blurred (a shade), or the foreground covers most of the border, less than 3 %
        or more than 95 % of the picture.
    """
    height, width = image.shape[:2]
    small = _as_picture(image)
    small.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    pixels = ndimage.gaussian_filter(np.asarray(small, np.float32), (1, 1, 0))  # [h,w,3], 0 to 255

    border = np.ones(pixels.shape[:2], bool)
    rim = max(2, round(0.02 * min(border.shape)))
    border[rim:-rim, rim:-rim] = False
    distance = np.abs(pixels - _background(pixels, border)).max(axis=-1)
    if distance.max() < 8:  # grey levels: a flat picture
        return None
    threshold = threshold_otsu(distance)
    found = distance > threshold
    # A texture is found on the border as often as elsewhere; an object may well touch a part of it.
    share_of_border, share_inside = found[border].mean(), found[~border].mean()
    if share_of_border > 0.5 or share_of_border > 0.5 * share_inside:
        return None

    radius = max(1, round(0.01 * max(border.shape)))
    disc = np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    found = np.pad(found, radius, mode="edge")  # closing must not eat the object where the picture cuts it
    found = ndimage.binary_closing(found, disc)[radius:-radius, radius:-radius]
    found |= _holes(found, distance > max(8, 2 * np.percentile(distance[border], 90)))
    found = _large_components(ndimage.binary_opening(found, disc))
    if not _has_sharp_contour(distance, threshold):
        return None
    mask = np.asarray(Image.fromarray(found).resize((width, height), Image.Resampling.NEAREST))
    return mask if _is_plausible(mask) else None


def _background(pixels: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Fit a quadratic surface to the border, then to every pixel that lies near it; [h,w,3]."""
    height, width = border.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    colours, used = pixels.reshape(-1, 3), border.ravel()
    for _ in range(4):
        surface = terms @ np.linalg.lstsq(terms[used], colours[used], rcond=None)[0]
        residual = np.abs(colours - surface).max(axis=-1)
        near = residual < 3 * max(2.0, 1.5 * float(np.median(residual[used])))
        if near.mean() < 0.3:  # a texture, or a part that fills the picture
            break
        used = near
    return surface.reshape(pixels.shape)


def _has_sharp_contour(distance: np.ndarray, threshold: float) -> bool:
    """Whether the foreground ends within a few pixels, as an object does; shade and light fade slowly."""
    found = _large_components(ndimage.binary_opening(distance > threshold))
    inside = found & ~ndimage.binary_erosion(found, iterations=3, border_value=1)
    outside = ndimage.binary_dilation(found, iterations=3) & ~found
    if not (inside.any() and outside.any()):
        return False
    return bool(distance[inside].mean() - distance[outside].mean() >= CONTOUR_MIN * threshold)


def _as_picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))


def _holes(mask: np.ndarray, is_unlike_background: np.ndarray) -> np.ndarray:
    """Return the holes to fill: specks of up to 2 % of the mask, and holes without the background's colour.

    The hole of a washer stays open.
    """
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    unlike = np.bincount(labels.ravel(), weights=is_unlike_background.ravel(), minlength=count + 1)
    return (labels > 0) & ((areas <= 0.02 * mask.sum()) | (unlike > 0.5 * areas))[labels]


def _large_components(mask: np.ndarray) -> np.ndarray:
    """Keep the connected parts with at least a tenth of the largest one's area."""
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas >= max(1, 0.1 * areas.max()))[labels]


def _is_plausible(mask: np.ndarray) -> bool:
    return bool(AREA_MIN <= mask.mean() <= AREA_MAX)


class Precomputed:
    """Masks in a folder, black where there is no object; they are resized to the picture.

    The mask of `.../bottle/train/good/000.png` is `folder/bottle/**/000_mask.*` or `000.*` where there is
    such a folder (or one of another name above the picture), else `folder/000_mask.*` or `folder/000.*`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._masks: dict[Path, dict[str, Path]] = {}

    def __call__(self, image: np.ndarray, path: Path) -> np.ndarray:
        found = self.mask_of(path)
        if found is None:
            raise ValueError(self._missing([path]))
        return resize(read_mask(found).astype(np.float32), image.shape[:2]) >= 0.5

    def mask_of(self, path: Path) -> Path | None:
        """Return the mask file of a picture; None where there is none."""
        names = [parent.name for parent in Path(path).parents if parent.name]  # the nearest first
        folder = next((f for name in names if (f := self.folder / name).is_dir()), self.folder)
        if folder not in self._masks:
            files = pictures(folder, recursive=folder != self.folder)
            self._masks[folder] = by_stem(files) | by_stem(files, "_mask")
        return self._masks[folder].get(Path(path).stem.lower())

    def check(self, paths: Sequence[Path]) -> None:
        """Check that every picture has a mask of its own.

        Raises:
            ValueError: pictures without a mask, or pictures that would share one.
        """
        missing = [path for path in paths if self.mask_of(path) is None]
        if missing:
            raise ValueError(self._missing(missing))
        users: dict[Path, list[Path]] = {}
        for path in paths:
            mask = self.mask_of(path)
            assert mask is not None
            users.setdefault(mask, []).append(path)
        shared = [(of_both, both) for of_both, both in users.items() if len(both) > 1]
        if shared:
            common, (first, second, *_) = shared[0]
            raise ValueError(
                f"`foreground`: {str(common)!r} is the mask of both {str(first)!r} and {str(second)!r} "
                f"({len(shared)} such masks); put the masks of each category into a folder of its name"
            )

    def _missing(self, paths: Sequence[Path]) -> str:
        names = ", ".join(repr(Path(path).name) for path in paths[:5])
        return (
            f"`foreground` folder {str(self.folder)!r} has no mask for {names}"
            f"{f' and {len(paths) - 5} more' if len(paths) > 5 else ''}; it should be "
            f"'{Path(paths[0]).stem}.png' or '{Path(paths[0]).stem}_mask.png'"
        )


class Matting:
    """The matting model isnet-general-use of the package rembg, which downloads its weights on first use.

    Every process opens a session of its own: sessions do not pickle, the source itself must.
    """

    def __init__(self) -> None:
        try:
            import rembg  # noqa: F401
        except ImportError as error:
            raise ValueError(
                "`foreground` 'rembg' needs the package rembg: pip install rembg; or take 'classical'."
            ) from error
        self._session: Any = None

    def __call__(self, image: np.ndarray, path: Path) -> np.ndarray | None:
        from rembg import new_session, remove

        if self._session is None:
            self._session = new_session("isnet-general-use")
        mask = np.asarray(remove(_as_picture(image), session=self._session, only_mask=True)) > 127
        return mask if _is_plausible(mask) else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_session": None}


def classical(image: np.ndarray, path: Path) -> np.ndarray | None:
    """Find the object by `foreground_mask`."""
    return foreground_mask(image)


def no_foreground(image: np.ndarray, path: Path) -> None:
    """Find no object."""


def foreground_source(name_or_folder: str | Path) -> ForegroundSource:
    """Return a function (image, path) -> mask or None; it pickles, for the processes that read samples.

    Args:
        name_or_folder: "classical", "rembg", "none", or a folder of masks.

    Raises:
        ValueError: neither a source nor a folder, or rembg is not installed.
    """
    if name_or_folder == "classical":
        return classical
    if name_or_folder == "rembg":
        return Matting()
    if name_or_folder == "none":
        return no_foreground
    if Path(name_or_folder).is_dir():
        return Precomputed(Path(name_or_folder))
    raise ValueError(
        f"`foreground` is {str(name_or_folder)!r}; give one of {', '.join(SOURCES)}, or a folder of masks"
    )
