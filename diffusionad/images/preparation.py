"""Pictures to the model's size, as tiles: what comes before the networks, and what collects their answers.

It needs no torch, and serves exported models as well.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image

from diffusionad.images.blank import check_shows_something
from diffusionad.images.image_io import read_image, resize
from diffusionad.images.tiling import TiledPicture, model_size

Size = tuple[int, int]  # (height, width)


@dataclass
class PreparedPicture:
    """A picture on its way through the networks.

    Attributes:
        picture: as a person sees it, RGB at its own size.
        tiled: the picture at the model's size [H',W',3] in [0, 1], and what is found in its tiles.
        size: (H, W) of the picture itself.
        view: the whole picture at another size, float32 [h,w,3] in [0, 1], where one was asked for.
    """

    picture: Image.Image
    tiled: TiledPicture
    size: tuple[int, int]
    view: np.ndarray | None = None


@dataclass(frozen=True)
class Preparation:
    """How pictures come to the networks' square and range; the fields are settings of the pipeline.

    Attributes:
        image_size: side S of the square that the networks see, pixels.
        resize_mode: "stretch" or "tile".
        shorter_side: pixels to which pictures are scaled before they are cut into tiles; None keeps them.
        antialias: average when shrinking.
        input_range: (low, high) that 0..1 is mapped to.
        bit_depth: bits that the camera uses of 16-bit pictures; None takes the full range of the file.
        takes_blank: whether a picture may show nothing.
    """

    image_size: int
    resize_mode: str
    shorter_side: int | None
    antialias: bool
    input_range: Sequence[float]
    bit_depth: int | None
    takes_blank: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], takes_blank: bool = False) -> Self:
        """Take the settings of a pipeline."""
        names = ("image_size", "resize_mode", "shorter_side", "antialias", "input_range", "bit_depth")
        return cls(**{name: config[name] for name in names}, takes_blank=takes_blank)

    def model_size(self, size: tuple[int, int], name: str = "the picture") -> tuple[int, int]:
        """Return the size (H', W') at which the networks see a picture of `size` (H, W)."""
        return model_size(size, self.image_size, self.resize_mode, self.shorter_side, name)

    def read(self, source: Any, index: int = 0) -> np.ndarray:
        """Read one picture at its own size, float32 [H,W,3] in [0, 1].

        Args:
            source: path, PIL image or array.
            index: place of the picture in the call, for errors.

        Raises:
            ImageError: a picture that cannot be used.
            FileNotFoundError: no such file.
        """
        return read_image(source, name_of(index), self.bit_depth)

    def prepare(
        self, source: Any, index: int = 0, view_size: Callable[[Size], Size] | None = None
    ) -> PreparedPicture:
        """Read one picture and bring it to the model's size.

        Args:
            source: as `read` takes it.
            index: place of the picture in the call, for errors.
            view_size: the picture's (H, W) to the size of a further view of it.

        Raises:
            ImageError: a picture that cannot be used.
            FileNotFoundError: no such file.
        """
        array = self.read(source, index)  # [H,W,3] in [0,1]
        name = f"`{source}`" if isinstance(source, str | os.PathLike) else name_of(index)
        size = (array.shape[0], array.shape[1])
        picture = resize(array, self.model_size(size, name), self.antialias)  # [H',W',3] in [0,1]
        if not self.takes_blank:
            check_shows_something(array, name, self.bit_depth)
        view = None if view_size is None else resize(array, view_size(size))
        return PreparedPicture(to_rgb_image(array), TiledPicture(picture, self.image_size), size, view)


def tiles_of(pictures: list[PreparedPicture], per_call: int) -> Iterator[list[tuple[PreparedPicture, int]]]:
    """Yield the tiles of pictures, (picture, index of the tile), as many as the networks see at a time."""
    tiles = [(picture, i) for picture in pictures for i in range(len(picture.tiled))]
    yield from (tiles[k : k + per_call] for k in range(0, len(tiles), per_call))


def collect(tiles: list[tuple[PreparedPicture, int]], maps: np.ndarray, reconstructions: np.ndarray) -> None:
    """Blend the maps [M,S,S] and reconstructions [M,S,S,3] of tiles, all in [0, 1], into their pictures.

    Raises:
        RuntimeError: a map holds NaN.
    """
    if not np.isfinite(maps).all():
        raise RuntimeError("The networks produced NaN; load them with dtype=torch.float32.")
    for (picture, i), anomaly_map, reconstruction in zip(tiles, maps, reconstructions, strict=True):
        picture.tiled.add(i, anomaly_map, reconstruction)


def name_of(index: int) -> str:
    """Name a picture by its place in the call, for errors."""
    return f"`image[{index}]`"


def to_rgb_image(picture: np.ndarray) -> Image.Image:
    """Return a picture [H,W,3] in [0, 1] as RGB; a channel at a time, as floats of a large one are many."""
    channels = picture.transpose(2, 0, 1)  # [3,H,W]
    return Image.fromarray(np.dstack([(c * 255).round().clip(0, 255).astype(np.uint8) for c in channels]))
