"""Batches of every phase: samples of pictures, or crops from the buffer of reconstructions.

What a step learns from depends on the step alone, so that a resumed run goes on with the same bits.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from accelerate import Accelerator
from torch.utils.data import DataLoader

from ..config.schema import TrainConfig
from ..synthesis.dataset import SampleStream, SyntheticAnomalies
from .budget import Phase
from .reconstruction_buffer import ReconstructionBuffer
from .schedule import portions
from .steps import Batch


class BatchSource:
    """Micro-batches of this process, on its device.

    Args:
        samples: training samples.
        paths: their pictures.
        config: settings of the run.
        accelerator: processes of the run.
        reconstruct: a batch to x_0_hat, by the frozen UNet, or to what a teacher says of it.
    """

    def __init__(
        self,
        samples: SyntheticAnomalies,
        paths: list[Path],
        config: TrainConfig,
        accelerator: Accelerator,
        reconstruct: Callable[[Batch], Batch],
    ):
        self.samples, self.config, self.accelerator, self.reconstruct = (
            samples,
            config,
            accelerator,
            reconstruct,
        )
        self.unet_samples = samples
        if config.optim.unet_share > 0 and not config.optim.repair:  # the UNet sees normal samples alone
            self.unet_samples = SyntheticAnomalies(paths, config, seed=config.optim.seed, probability=0.0)
        self.portion = portions(config.optim, accelerator.num_processes)
        self.learning: tuple[bool, bool] | None = None  # which networks
        self.stream: Iterator[Batch] = iter(())
        self.buffer: ReconstructionBuffer | None = None

    def is_in(self, phase: Phase) -> bool:
        """Whether a phase was entered; its end may have moved since."""
        return self.learning == (phase.unet_learns, phase.segmenter_learns)

    def enter(self, phase: Phase, step: int) -> None:
        """Start a phase, or go on with it, at `step`.

        The buffer is filled where the segmenter learns alone, or a student from a teacher.
        """
        optim, world = self.config.optim, self.accelerator.num_processes
        self.learning = phase.unet_learns, phase.segmenter_learns
        if phase.unet_learns and not self.config.distillation.teacher:
            first = step * optim.batch_size
            self.stream = self._stream_of(self.unet_samples, self.portion.micro_batch, first)
        else:
            at = step - phase.start
            self.stream = self._stream_of(self.samples, 1, at // optim.buffer_steps * world)
            rank = self.accelerator.process_index
            self.buffer = ReconstructionBuffer(self.stream, self.reconstruct, self.config, at, rank)

    def draw(self) -> list[Batch]:
        """Return the micro-batches of the next step."""
        if self.buffer is None:
            batches = [next(self.stream) for _ in range(self.portion.count)]
        else:
            batches = [self.buffer.draw()]
        device = self.accelerator.device
        return [{k: v.to(device, non_blocking=True) for k, v in batch.items()} for batch in batches]

    def _stream_of(self, samples: SyntheticAnomalies, micro_batch: int, first: int) -> Iterator[Batch]:
        """Endless micro-batches of this process, from sample `first` of all processes on."""
        workers, seed = self.config.data.num_workers, self.config.optim.seed
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return iter(
            DataLoader(
                samples,
                micro_batch,
                sampler=SampleStream(len(samples), seed, first, rank=rank, world=world),
                num_workers=workers,
                prefetch_factor=4 if workers else None,
                worker_init_fn=ignore_interrupts,
                pin_memory=self.accelerator.device.type == "cuda",
            )
        )


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which the terminal sends to the workers, too, to the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
