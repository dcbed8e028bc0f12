"""Pictures into the networks and out of them: any input at the model's size, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusionad.images.image_io import ImageError, ImageSource
from diffusionad.images.preparation import Preparation, name_of, to_rgb_image

ImageInput = ImageSource | Tensor

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass(frozen=True)
class ImageProcessor(Preparation):
    """The preparation of pictures, and their way into tensors and out of them."""

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
        return super().read(source, index)

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
    return to_rgb_image(reconstruction)
