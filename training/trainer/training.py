"""A whole training, read from top to bottom; DiffusionAD, training."""

from pathlib import Path

from ..config.schema import TrainConfig
from ..run_guard import RunLock, disk_errors
from .distillation import DistillationLoop
from .finish import finish
from .loop import TrainingLoop
from .setup import set_up


def train(config: TrainConfig, output: Path, resume: bool = False) -> Path:
    """Train, choose the weights by validation, calibrate, test once.

    Args:
        config: resolved settings; `data.path` must be set.
        output: run folder.
        resume: go on from the last checkpoint in `output`.

    Returns:
        The run folder.

    Raises:
        ValueError: data or settings that cannot work, or another process trains in `output`.
        FileNotFoundError: no such data.
        OSError: the disk is full.
        TrainingError: the loss became NaN or diverged.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the state is saved.
    """
    with RunLock(output) as lock, disk_errors(output):
        # 0. Find everything that can be wrong before the first step.
        setup = set_up(config, output, resume, lock)

        # 1. Take all steps, or those that are left.
        loop = (DistillationLoop if config.distillation.teacher else TrainingLoop)(setup, resume)
        loop.run()

        # 2. Calibrate the weights that validation chose, on pictures that chose nothing; test them once.
        setup.accelerator.wait_for_everyone()
        if setup.accelerator.is_main_process:
            finish(loop)
    return output
