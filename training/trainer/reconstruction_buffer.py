"""A replay buffer of reconstructions: with the UNet frozen, the segmenter learns from each many times.

A reconstruction costs as much as a step of the segmenter on eight crops, so it pays to crop each often. The
buffer slides over the stream of samples: at step s of the segmenter it holds `size` samples, from number
s // buffer_steps on. Its content depends on the frozen weights and the step alone, so a resumed run fills it
with the same bits.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..config.schema import TrainConfig

CENTRED = 0.9  # fraction of the crops of damaged samples that hold a damaged pixel


class ReconstructionBuffer:
    """The last `optim.buffer_size` samples with their reconstructions, from which crops are drawn.

    Args:
        samples: endless batches of one sample each.
        reconstruct: a batch to what the segmenter learns from beside the picture, by name, [1,C,S,S] each in
            [-1, 1]: "x_0_hat", and what a teacher says.
        config: settings of the run.
        step: step of the segmenter at which the run starts or goes on.
        rank: index of this process.
    """

    def __init__(
        self,
        samples: Iterator[dict[str, Tensor]],
        reconstruct: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        config: TrainConfig,
        step: int,
        rank: int,
    ):
        self.samples, self.reconstruct, self.config = samples, reconstruct, config
        self.step, self.rank, self.count = step, rank, step // config.optim.buffer_steps
        size, side = config.optim.buffer_size, config.data.image_size
        # A picture of 16 bits may have all that it shows in a few of 255 levels.
        dtype, self.levels = (torch.int16, 32767) if config.data.bit_depth else (torch.uint8, 255)
        self.x_0 = torch.empty(size, 3, side, side, dtype=dtype)
        self.learnt: dict[str, Tensor] = {}
        self.mask = torch.empty(size, 1, side, side, dtype=torch.bool)
        for _ in range(size - (step % config.optim.buffer_steps == 0)):
            self._add()

    def _add(self) -> None:
        batch = next(self.samples)
        slot = self.count % len(self.x_0)
        self.x_0[slot] = ((batch["x_0"][0] + 1) * (self.levels / 2)).round().to(self.x_0.dtype)
        for name, value in self.reconstruct(batch).items():
            if name not in self.learnt:
                self.learnt[name] = torch.empty(len(self.x_0), *value.shape[1:], dtype=torch.float16)
            self.learnt[name][slot] = value[0].to("cpu", torch.float16)
        self.mask[slot] = batch["mask"][0] > 0
        self.count += 1

    def draw(self) -> dict[str, Tensor]:
        """Draw a batch of crops; every `buffer_steps` steps a new sample replaces the oldest one first.

        Crops stay upright: parts lie in one position, and a segmenter that has seen them turned no longer
        notices a print upside down, or a surface ground crosswise.

        Returns:
            x_0 [B,3,c,c] in [-1, 1], mask [B,1,c,c], label [B], and what `reconstruct` gave, such as x_0_hat
            [B,3,c,c].
        """
        if self.step % self.config.optim.buffer_steps == 0:
            self._add()
        rng = np.random.default_rng([self.config.optim.seed, 2, self.step, self.rank])
        self.step += 1
        slots = rng.integers(len(self.x_0), size=self.config.optim.segmenter_batch_size)
        crops = [self._crop(slot, rng) for slot in slots]
        batch = {name: torch.stack([crop[name] for crop in crops]) for name in crops[0]}
        return batch | {"label": batch["mask"].flatten(1).amax(1).long()}

    def _crop(self, slot: int, rng: np.random.Generator) -> dict[str, Tensor]:
        side = self.config.data.image_size
        crop = self.config.optim.segmenter_crop or side
        corner = rng.integers(side - crop + 1, size=2)
        damaged = self.mask[slot, 0].nonzero()  # [n,2]
        if len(damaged) and rng.random() < CENTRED:
            pixel = damaged[rng.integers(len(damaged))].numpy()
            corner = np.clip(pixel - rng.integers(crop, size=2), 0, side - crop)
        window = (slot, slice(None), slice(corner[0], corner[0] + crop), slice(corner[1], corner[1] + crop))
        x_0 = self.x_0[window].float() / (self.levels / 2) - 1
        learnt = {name: values[window].float() for name, values in self.learnt.items()}
        return {"x_0": x_0, **learnt, "mask": self.mask[window].float()}
