"""Pictures larger than memory should hold: a TIFF read by region, its map written as a pyramid of tiles.

The networks see tiles of the picture at its own scale, laid and blended as those of any picture are
(`images/tiling.py`). Of picture and map, no more than one row of tiles is kept, and the pyramid's smaller
levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusionad.files import replacing
from diffusionad.images.tiling import Tiling
from diffusionad.postprocessing.regions import Region, find_defects
from diffusionad.postprocessing.scoring import top_mean

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

MAX_PIXELS = 2**32
TIFF_TILE = 256  # side of the tiles of the written map, pixels
REGION_SIDE = 4096  # longest side of the level on which regions are found, pixels


@dataclass(frozen=True)
class LargeResult:
    """What was found in a large picture.

    Attributes:
        size: (H, W), pixels.
        score: mean of the largest values of the map, in [0, 1], as of any picture.
        threshold: of the model, in [0, 1].
        regions: defective regions in pixels of the picture, exact to `step`.
        step: pixels of the picture on a pixel of the level on which regions were found.
    """

    size: tuple[int, int]
    score: float
    threshold: float
    regions: tuple[Region, ...]
    step: int

    @property
    def is_anomalous(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    @property
    def word(self) -> str:
        """Return good or defective."""
        return "defective" if self.is_anomalous else "good"


def inspect_large(
    pipeline: "DiffusionADPipeline", path: Path, map_path: Path, batch_size: int = 8
) -> LargeResult:
    """Inspect a TIFF at its own scale.

    Args:
        pipeline: that sees pictures at this scale; a threshold from pictures at another scale means nothing.
        path: the TIFF, [H,W] or [H,W,3], both sides at least the networks' square.
        map_path: TIFF to write, float32 [H,W] in [0, 1], tiled, with levels of half the size each that keep
            the largest of four pixels.
        batch_size: tiles per network call on a GPU; the map is the same whatever it is.

    Raises:
        ModuleNotFoundError: tifffile or zarr is not installed.
        ValueError: no such TIFF, or settings that look at a part of the picture.
        OSError: it cannot be read, or the map not be written.
    """
    import tifffile

    config = pipeline.config
    if config.roi is not None or config.ignore_border or getattr(pipeline, "mark_memory", None) is not None:
        raise ValueError(
            "`roi`, `ignore_border` and known marks are not for large pictures; use a model without."
        )
    picture = open_region(path, config.image_size)
    height, width = picture.shape[:2]
    native: dict[str, Any] = {"resize_mode": "tile", "shorter_side": None}
    was = {name: config[name] for name in (*native, "calibration")}, pipeline.takes_blank
    rows = _MapRows(pipeline, picture, batch_size)
    levels = _Levels((height, width), config.image_size**2, config.top_fraction)
    try:
        pipeline.configure(**native)
        pipeline.takes_blank = True  # a part of a picture may well show nothing
        with replacing(map_path) as partial, tifffile.TiffWriter(partial, bigtiff=True) as tiff:
            options: dict[str, Any] = {"tile": (TIFF_TILE, TIFF_TILE), "compression": "zlib"}
            tiles = _tiles_of(levels.fed_by(rows), width)
            tiff.write(
                tiles,
                shape=(height, width),
                dtype=np.float32,
                subifds=len(levels.levels),
                photometric="minisblack",
                **options,
            )
            for level in levels.levels:
                tiff.write(level, subfiletype=1, photometric="minisblack", **options)
    finally:
        settings, pipeline.takes_blank = was
        pipeline.register_to_config(**settings)
    step, small = levels.for_regions()
    _, regions = find_defects(small, config.threshold)
    return LargeResult(
        (height, width), levels.score(), config.threshold, tuple(_enlarged(r, step) for r in regions), step
    )


def open_region(path: Path, side: int) -> Any:
    """Return the first page of a TIFF as an array that is read where it is indexed, [H,W] or [H,W,3].

    Raises:
        ValueError: another kind of file or layout, or a picture smaller than `side`.
    """
    import tifffile
    import zarr

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            axes, shape = page.axes, page.shape
            if axes not in ("YX", "YXS") or (axes == "YXS" and shape[2] != 3):
                raise ValueError(f"`{path}` has the axes {axes} {shape}; give a grey or RGB picture.")
            if min(shape[:2]) < side or shape[0] * shape[1] > MAX_PIXELS:
                raise ValueError(f"`{path}` is {shape[1]} x {shape[0]} pixels; give {side} x {side} or more.")
        store = tifffile.imread(path, aszarr=True, key=0, level=0)
        return zarr.open(store, mode="r")
    except tifffile.TiffFileError as error:
        raise ValueError(f"`{path}` is no TIFF ({error}); convert it to a tiled one.") from error


class _MapRows:
    """The finished rows of the map, from top to bottom; each is [n,W] float32."""

    def __init__(self, pipeline: "DiffusionADPipeline", picture: Any, batch_size: int):
        self._pipeline, self._picture, self._batch_size = pipeline, picture, batch_size

    def __iter__(self) -> Iterator[np.ndarray]:
        side = self._pipeline.config.image_size
        height, width = self._picture.shape[:2]
        tiling = Tiling((height, width), side)
        columns = sum(tiling.window(i)[0].start == 0 for i in range(len(tiling)))
        blend = np.zeros((side, width), np.float32)  # of the rows from `top` on
        for first in range(0, len(tiling), columns):
            row = range(first, first + columns)
            top = tiling.window(first)[0].start
            band = np.asarray(self._picture[top : top + side])  # [S,W] or [S,W,3]
            for start in range(0, columns, self._batch_size):
                some = row[start : start + self._batch_size]
                tiles = [band[:, tiling.window(i)[1]] for i in some]
                maps = self._pipeline(tiles, batch_size=self._batch_size).anomaly_map
                for i, anomaly_map in zip(some, maps, strict=True):
                    blend[:, tiling.window(i)[1]] += tiling.weight(i) * anomaly_map
            following = first + columns
            done = side if following == len(tiling) else tiling.window(following)[0].start - top
            yield blend[:done].copy()
            blend = np.concatenate([blend[done:], np.zeros((done, width), np.float32)])


class _Levels:
    """The smaller levels of the pyramid and the largest values, gathered while rows pass."""

    def __init__(self, size: tuple[int, int], area: int, top_fraction: float):
        self._size, self._area, self._top_fraction = size, area, top_fraction
        self.levels = []
        while max(size) > TIFF_TILE:
            size = -(-size[0] // 2), -(-size[1] // 2)
            self.levels.append(np.zeros(size, np.float32))
        self._largest = np.zeros(0, np.float32)

    def fed_by(self, rows: Iterator[np.ndarray] | _MapRows) -> Iterator[np.ndarray]:
        """Yield the rows as they come, having looked at them."""
        top, keep = 0, max(1, round(self._top_fraction * self._area))
        for row in rows:
            if self.levels:
                _keep_largest(self.levels[0], row, top)
            both = np.concatenate([self._largest, row.ravel()])
            self._largest = np.partition(both, both.size - min(keep, both.size))[-keep:]
            top += len(row)
            yield row
        for level, smaller in zip(self.levels, self.levels[1:], strict=False):
            _keep_largest(smaller, level, 0)

    def score(self) -> float:
        """Return the mean of the largest values, as `top_mean` of the whole map has it."""
        return top_mean(self._largest[None], self._top_fraction, area=self._area)

    def for_regions(self) -> tuple[int, np.ndarray]:
        """Return the step and the largest level whose sides are at most `REGION_SIDE`, which is small."""
        for number, level in enumerate(self.levels, start=1):
            if max(level.shape) <= REGION_SIDE:
                return 2**number, level
        return 1, np.zeros(self._size, np.float32)


def _keep_largest(level: np.ndarray, rows: np.ndarray, top: int) -> None:
    """Enter rows [n,W], the first of which is row `top`, into a level of half the size."""
    columns = np.maximum.reduceat(rows, np.arange(0, rows.shape[1], 2), axis=1)  # [n,W/2]
    for i, values in enumerate(columns):
        target = level[(top + i) // 2]
        np.maximum(target, values, out=target)


def _tiles_of(rows: Iterator[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Yield the tiles of a TIFF, row by row; those at the edges are filled up with zeros."""
    waiting = np.zeros((0, width), np.float32)
    for row in rows:
        waiting = np.concatenate([waiting, row])
        while len(waiting) >= TIFF_TILE:
            yield from _cut(waiting[:TIFF_TILE])
            waiting = waiting[TIFF_TILE:]
    if len(waiting):
        yield from _cut(waiting)


def _cut(rows: np.ndarray) -> Iterator[np.ndarray]:
    for left in range(0, rows.shape[1], TIFF_TILE):
        tile = np.zeros((TIFF_TILE, TIFF_TILE), np.float32)
        part = rows[:, left : left + TIFF_TILE]
        tile[: part.shape[0], : part.shape[1]] = part
        yield tile


def _enlarged(region: Region, step: int) -> Region:
    left, top, right, bottom = (step * edge for edge in region.box)
    x, y = region.centroid
    peak_x, peak_y = region.peak_position
    return Region(
        box=(left, top, right, bottom),
        area=region.area * step**2,
        centroid=(x * step, y * step),
        peak=region.peak,
        peak_position=(peak_x * step, peak_y * step),
    )
