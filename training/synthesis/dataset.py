"""Training samples: a normal picture or a crop of it, perhaps with a synthetic defect, and the noise to add.

Every random draw of a sample comes from (seed, epoch, index of the picture). Neither resuming a run nor the
number of workers or processes changes a sample.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from diffusionad.images.bit_depth import is_deep
from diffusionad.images.image_io import IMAGE_FORMATS, read_image, resize
from diffusionad.images.tiling import model_size

from ..config.schema import DataConfig, DiffusionConfig, TrainConfig
from .anomalies import synthesize
from .foreground import Precomputed, foreground_source
from .textures import TextureBank

MAX_CACHE_BYTES = 4e9  # pictures kept in memory by each process that reads them; others are read again


class SampleStream(Sampler[tuple[int, int]]):
    """Endless (epoch, index) pairs, shuffled in each epoch by (seed, epoch), from sample `start` on.

    Args:
        length: number of pictures.
        seed: seed of the shuffles.
        start: number of samples already used by all processes.
        rank: index of this process.
        world: number of processes; each takes every `world`-th sample.
    """

    def __init__(self, length: int, seed: int, start: int = 0, rank: int = 0, world: int = 1):
        self.length, self.seed, self.start, self.rank, self.world = length, seed, start, rank, world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start + self.rank
        for epoch in itertools.count(position // self.length):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            while position < (epoch + 1) * self.length:
                yield epoch, int(order[position % self.length])
                position += self.world


class SyntheticAnomalies(Dataset):
    """Training samples from normal pictures.

    With `data.resize_mode` "tile" a sample is an S x S crop of the picture, another one in each epoch. The
    object is found in the whole picture; a crop beside it has no place for a defect, and stays normal.

    Args:
        paths: files of normal pictures.
        config: settings of the run.
        seed: seed of all draws.
        probability: probability of a defect; None takes the config's.
    """

    def __init__(self, paths: list[Path], config: TrainConfig, seed: int, probability: float | None = None):
        self.paths, self.config, self.seed = paths, config, seed
        self.synthesis = config.synthesis
        if probability is not None:
            self.synthesis = dataclasses.replace(config.synthesis, probability=probability)
        self.textures: TextureBank | None = None
        is_texture = config.synthesis.kind == "texture"
        self._find_foreground = foreground_source("none" if is_texture else config.data.foreground)
        if isinstance(self._find_foreground, Precomputed):
            self._find_foreground.check(paths)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._cached_bytes = 0

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """Return sample `index` of `epoch`: x_0, mask, label, t and noise of both scales."""
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        image, foreground = self._crop(epoch, index)
        if self.textures is None:
            folder = self.config.data.texture_folder
            self.textures = TextureBank(Path(folder) if folder else None, self.config.data.image_size)
        synthesis = self.synthesis.after(epoch * len(self.paths))
        sample = synthesize(image, rng, synthesis, self.textures, foreground)
        x_0 = _as_tensor(sample.image)
        clean = {"clean": _as_tensor(image)} if self.config.optim.repair else {}
        return {
            "x_0": x_0,
            **clean,
            "mask": torch.from_numpy(sample.mask)[None],  # [1,S,S]
            "label": torch.tensor(sample.label, dtype=torch.int64),
            **draw_diffusion(x_0.shape, rng, self.config.diffusion),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a spawned worker reads faster than it unpickles."""
        return {**vars(self), "textures": None, "_cache": {}, "_cached_bytes": 0}

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, epoch: int, index: int) -> np.ndarray:
        """Return the crop that sample `index` of `epoch` is made from, float32 [S,S,3] in [0, 1]."""
        return self._crop(epoch, index)[0]

    def _crop(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """[S,S,3] in [0, 1] and where the object is; the whole picture, unless it is seen in tiles."""
        image, foreground = self._picture(index)
        window = crop_window(
            image.shape[:2], self.config.data.image_size, np.random.default_rng([self.seed, epoch, index, 3])
        )
        foreground = None if foreground is None else foreground[window]
        return image[window].astype(np.float32) / np.iinfo(image.dtype).max, foreground

    def _picture(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """[H',W',3] at the size at which the pipeline sees it, and where the object is.

        Pictures of 8 bits are uint8, deeper ones uint16.
        """
        if index in self._cache:
            return self._cache[index]
        image = to_model_size(self.paths[index], self.config.data)
        foreground = self._find_foreground(image, self.paths[index])
        with Image.open(self.paths[index], formats=IMAGE_FORMATS) as file:
            dtype = np.uint16 if is_deep(file) else np.uint8
        # Kept as integers: a thousand pictures of 256 x 256 and 8 bits take 200 MB.
        kept = (image * np.iinfo(dtype).max).round().astype(dtype), foreground
        size = sum(array.nbytes for array in kept if array is not None)
        if self._cached_bytes + size <= MAX_CACHE_BYTES:
            self._cache[index] = kept
            self._cached_bytes += size
        return kept


def to_model_size(path: Path, data: DataConfig) -> np.ndarray:
    """Read a picture at the size at which the pipeline sees or cuts it: float32 [H',W',3] in [0, 1]."""
    image = read_image(path, bit_depth=data.bit_depth or None)
    shorter_side = data.shorter_side or None
    size = model_size(image.shape[:2], data.image_size, data.resize_mode, shorter_side, f"`{path}`")
    return resize(image, size, data.antialias)


def crop_window(size: tuple[int, int], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return rows and columns of a crop around a uniformly drawn pixel, moved into the picture.

    This shows the picture's border as often as the pipeline's outer tiles need it; a crop with a uniform
    start would hardly ever show a corner.
    """
    centres = [int(rng.integers(length)) for length in size]
    starts = [min(max(c - side // 2, 0), n - side) for c, n in zip(centres, size, strict=True)]
    rows, columns = (slice(start, start + side) for start in starts)
    return rows, columns


def _as_tensor(image: np.ndarray) -> Tensor:
    """[S,S,3] in [0, 1] -> [3,S,S] in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1) * 2 - 1


def draw_diffusion(shape: torch.Size, rng: np.random.Generator, config: DiffusionConfig) -> dict[str, Tensor]:
    """Draw timesteps t ~ U[range) and independent standard normal noise [C,S,S] for both scales."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return {
        "t_fine": torch.tensor(int(rng.integers(*config.train_t_fine))),
        "t_coarse": torch.tensor(int(rng.integers(*config.train_t_coarse))),
        "noise_fine": torch.randn(shape, generator=generator),
        "noise_coarse": torch.randn(shape, generator=generator),
    }
