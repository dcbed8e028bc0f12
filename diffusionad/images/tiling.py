"""Pictures larger than the networks' square: overlapping tiles over them, results blended. Needs no torch."""

import itertools
import math

import numpy as np

from diffusionad.images.image_io import MAX_MEGAPIXELS, ImageError

RESIZE_MODES = ("stretch", "tile")
OVERLAP_MIN = 1 / 8  # of a tile's side, between neighbours
WEIGHT_STEPS = 4096  # weights are multiples of 1/4096: products of two are exact in float32, and so are sums


def model_size(
    size: tuple[int, int], image_size: int, resize_mode: str, shorter_side: int | None, name: str
) -> tuple[int, int]:
    """Size at which the networks see a picture, all of it at once or tile by tile.

    Args:
        size: (height, width) of the picture.
        image_size: side S of the networks' square.
        resize_mode: "stretch": S x S, whatever the picture's shape. "tile": its shape is kept.
        shorter_side: of the result in mode "tile", pixels; None keeps the picture's own scale, enlarged only
            where a side would be shorter than S.
        name: of the picture, in errors.

    Returns:
        (height, width), both at least S.

    Raises:
        ImageError: it would be larger than 89 megapixels, as a long strip is when enlarged.
    """
    if resize_mode == "stretch":
        return image_size, image_size
    shortest = min(size)
    target = max(image_size, shortest) if shorter_side is None else shorter_side
    height, width = (max(target, round(side * target / shortest)) for side in size)
    if height * width > MAX_MEGAPIXELS * 1e6:
        raise ImageError(
            f"{name} is {size[1]} x {size[0]} pixels and would be cut into tiles at {width} x {height} = "
            f"{height * width / 1e6:.0f} megapixels; the limit is {MAX_MEGAPIXELS}: crop it first."
        )
    return height, width


def tile_starts(length: int, side: int) -> list[int]:
    """First pixels of the fewest tiles that cover `length` pixels, evenly spaced.

    Neighbours overlap by at least an eighth of `side`.
    """
    assert length >= side, (length, side)
    stride_max = max(1, side - math.ceil(OVERLAP_MIN * side))
    gaps = math.ceil((length - side) / stride_max)
    return [0] + [round(i * (length - side) / gaps) for i in range(1, gaps + 1)]


def tile_weights(starts: list[int], side: int) -> np.ndarray:
    """What each tile counts along one axis, float32 [n,side], above 0.

    Weights fall linearly towards a neighbour, and those of one pixel sum to exactly 1: a single tile is kept
    bit for bit, and what is blended from values in [0, 1] stays there.
    """
    ramps = np.ones((len(starts), side))
    for i, (start, following) in enumerate(itertools.pairwise(starts)):
        overlap = start + side - following
        rise = (np.arange(overlap) + 0.5) / overlap
        ramps[i, side - overlap :] *= rise[::-1]
        ramps[i + 1, :overlap] *= rise
    ramps = np.maximum(ramps, 4 / WEIGHT_STEPS)  # in tiles of thousands of pixels some would be rounded to 0
    windows = [slice(start, start + side) for start in starts]
    total, done = np.zeros((2, starts[-1] + side))
    for window, ramp in zip(windows, ramps, strict=True):
        total[window] += ramp
    weights = []
    for window, ramp in zip(windows, ramps, strict=True):
        # Running sums are rounded, not weights: then no rounding is left over.
        before = np.floor(done[window] * WEIGHT_STEPS + 0.5)
        done[window] += ramp / total[window]
        weights.append((np.floor(done[window] * WEIGHT_STEPS + 0.5) - before) / WEIGHT_STEPS)
    return np.stack(weights).astype(np.float32)


class Tiling:
    """S x S tiles over a picture, row by row.

    Args:
        size: (height, width) of the picture, both at least `side`.
        side: S.
    """

    def __init__(self, size: tuple[int, int], side: int):
        self.side = side
        self._starts = [tile_starts(length, side) for length in size]
        self._weights = [tile_weights(starts, side) for starts in self._starts]

    def __len__(self) -> int:
        return len(self._starts[0]) * len(self._starts[1])

    def window(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of a tile."""
        row, column = divmod(index, len(self._starts[1]))
        top, left = self._starts[0][row], self._starts[1][column]
        return slice(top, top + self.side), slice(left, left + self.side)

    def nearest(self, y: float, x: float) -> int:
        """Return the tile whose centre is nearest to (y, x), given as shares of height and width."""
        height, width = (starts[-1] + self.side for starts in self._starts)

        def distance(index: int) -> float:
            rows, columns = self.window(index)
            centre_y, centre_x = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
            return math.hypot(centre_y - y * height, centre_x - x * width)

        return min(range(len(self)), key=distance)

    def weight(self, index: int) -> np.ndarray:
        """What each pixel of a tile counts, float32 [S,S] in (0, 1]; over all tiles of a pixel 1."""
        row, column = divmod(index, len(self._starts[1]))
        return np.outer(self._weights[0][row], self._weights[1][column])


class TiledPicture:
    """A picture that is inspected tile by tile; of the tiles, no more than their blend is kept.

    Args:
        picture: [H',W',3] float32 in [0, 1], at the size at which the networks see it.
        side: S of the tiles.

    Attributes:
        anomaly_map: float32 [H',W'] in [0, 1], once every tile was added.
        reconstruction: float32 [H',W',3] in [0, 1], likewise.
        distance: float32 [H',W'], to the nearest good patches; None for a model without a `FeatureMemory`.
    """

    def __init__(self, picture: np.ndarray, side: int):
        self.picture = picture
        self.tiling = Tiling(picture.shape[:2], side)
        self.anomaly_map = np.zeros(picture.shape[:2], np.float32)
        self.reconstruction = np.zeros(picture.shape, np.float32)
        self.distance: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tiling)

    def tile(self, index: int) -> np.ndarray:
        """[S,S,3] of the picture."""
        return self.picture[self.tiling.window(index)]

    def add(self, index: int, anomaly_map: np.ndarray, reconstruction: np.ndarray) -> None:
        """What was found in a tile: its map [S,S] and its reconstruction [S,S,3], both in [0, 1]."""
        window, weight = self.tiling.window(index), self.tiling.weight(index)
        self.anomaly_map[window] += weight * anomaly_map
        self.reconstruction[window] += weight[..., None] * reconstruction
