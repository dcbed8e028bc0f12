"""Training of both networks on good pictures; DiffusionAD, training.

    python -m training.train --data FOLDER --preset tiny --output runs/bottle
    accelerate launch --num_processes 4 -m training.train --data FOLDER --preset paper --output runs/bottle

The run folder holds config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/ (the published
weights), metrics.json, scores.csv and samples/. `--resume` goes on with an interrupted run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from diffusionad.cli.options import run

from .cli import train_command
from .config.schema import TrainConfig


def train(config: TrainConfig, output: Path, resume: bool = False) -> Path:
    """Train, choose the weights by validation, calibrate, test once.

    Args:
        config: resolved settings; `data.path` must be set.
        output: run folder.
        resume: go on from the last checkpoint in `output`.

    Returns:
        The run folder.

    Raises:
        ValueError: data or settings that cannot work.
        FileNotFoundError: no such data.
        TrainingError: the loss became NaN or diverged.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the state is saved.
    """
    # Heavy imports come once the arguments are known to be right, so that `--help` answers at once.
    from .trainer.finish import finish
    from .trainer.loop import TrainingLoop
    from .trainer.setup import set_up

    # 0. Find everything that can be wrong before the first step.
    setup = set_up(config, output, resume)

    # 1. Take all steps, or those that are left.
    loop = TrainingLoop(setup, resume)
    loop.run()

    # 2. Calibrate the weights that validation chose, on pictures that chose nothing; test them once.
    setup.accelerator.wait_for_everyone()
    if setup.accelerator.is_main_process:
        finish(loop)
    return output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(train_command, arguments, "python -m training.train")


if __name__ == "__main__":
    sys.exit(main())
