"""Pictures into the networks and out of them: any input at the model's size, as tiles and tensors."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusionad.images.blank import check_shows_something
from diffusionad.images.image_io import ImageError, ImageSource, read_image, resize
from diffusionad.images.tiling import TiledPicture, model_size

ImageInput = ImageSource | Tensor
Size = tuple[int, int]  # (height, width)

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass
class PreparedPicture:
    """A picture on its way through the networks.

    Attributes:
        tiled: the picture at the model's size [H',W',3] in [0, 1], and what is found in its tiles.
        size: (H, W) of the picture itself.
        view: the whole picture at another size, float32 [h,w,3] in [0, 1], where one was asked for.
    """

    tiled: TiledPicture
    size: tuple[int, int]
    view: np.ndarray | None = None


@dataclass(frozen=True)
class ImageProcessor:
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
    def from_config(cls, config: Mapping[str, Any], takes_blank: bool = False) -> "ImageProcessor":
        """Take the settings of a pipeline."""
        names = ("image_size", "resize_mode", "shorter_side", "antialias", "input_range", "bit_depth")
        return cls(**{name: config[name] for name in names}, takes_blank=takes_blank)

    def model_size(self, size: tuple[int, int], name: str = "the picture") -> tuple[int, int]:
        """Return the size (H', W') at which the networks see a picture of `size` (H, W)."""
        return model_size(size, self.image_size, self.resize_mode, self.shorter_side, name)

    def read(self, source: ImageInput, index: int = 0) -> np.ndarray:
        """Read one picture at its own size, float32 [H,W,3] in [0, 1].

        Args:
            source: path, PIL image, array, or tensor [C,H,W] in [0, 1].
            index: place of the picture in the call, for errors.

        Raises:
            ImageError: a picture that cannot be used.
            FileNotFoundError: no such file.
        """
        if isinstance(source, Tensor):
            source = source.detach().float().cpu().permute(1, 2, 0).numpy()  # [C,H,W] -> [H,W,C]
        return read_image(source, name_of(index), self.bit_depth)

    def prepare(
        self, source: ImageInput, index: int = 0, view_size: Callable[[Size], Size] | None = None
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
        return PreparedPicture(TiledPicture(picture, self.image_size), size, view)

    def to_tensor(self, tiles: Sequence[np.ndarray], device: torch.device) -> Tensor:
        """Stack M tiles [S,S,3] in [0, 1] into x_0 [M,3,S,S] in the networks' range."""
        x_0 = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).contiguous()  # [M,3,S,S] in [0,1]
        low, high = self.input_range
        return (low + (high - low) * x_0).to(device)

    def to_array(self, x: Tensor) -> np.ndarray:
        """Return [M,3,S,S] in the networks' range as float32 [M,S,S,3], clamped to [0, 1]."""
        low, high = self.input_range
        return ((x.float() - low) / (high - low)).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def as_list(image: Any) -> list[ImageInput]:
    """Return one picture, a list of them, or a batch [N,...] as a list."""
    if isinstance(image, Tensor):
        check_storage(image, "`image`")
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        return list(image)
    if isinstance(image, list | tuple):
        return list(image)
    return [image]


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


def check_call(sources: list[ImageInput], batch_size: Any, output_type: Any) -> None:
    """Raise a ValueError for arguments of a call that can be refused before the first picture is read."""
    if not sources:
        raise ValueError("`image` is empty; give at least one picture.")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size!r}; give an integer of at least 1.")
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"`output_type` is {output_type!r}; use one of {', '.join(OUTPUT_TYPES)}.")
    for i, source in enumerate(sources):
        if isinstance(source, Tensor):
            check_tensor(source, name_of(i))


def check_storage(tensor: Tensor, name: str) -> None:
    """Raise an ImageError for a tensor whose values do not lie in memory, one after the other."""
    if tensor.is_meta:
        raise ImageError(f"{name} is a tensor on the meta device, which has no values; give a real one.")
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        raise ImageError(f"{name} is a sparse, nested or quantized tensor; give a dense one of floats.")


def check_tensor(tensor: Tensor, name: str) -> None:
    """Raise an ImageError for a tensor that is no picture [C,H,W] of floats."""
    check_storage(tensor, name)
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(
            f"{name} is a tensor of shape {tuple(tensor.shape)}; give [C,H,W] with C = 1, 3 or 4."
        )
    if tensor.is_complex():
        raise ImageError(f"{name} is a tensor of {tensor.dtype}; give floats in 0..1.")
    if not tensor.is_floating_point():
        low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
        raise ImageError(
            f"{name} is a tensor of {tensor.dtype} with values {low}..{high}; give floats in 0..1."
        )


def to_output_type(reconstruction: np.ndarray, output_type: str) -> Image.Image | np.ndarray | Tensor:
    """Convert a reconstruction [H',W',3] in [0, 1] to "pil", "np" or "pt"."""
    if output_type == "pt":
        return torch.from_numpy(reconstruction).permute(2, 0, 1).contiguous()  # [3,H',W']
    if output_type == "np":
        return reconstruction  # [H',W',3]
    return Image.fromarray((reconstruction * 255).round().astype(np.uint8))
