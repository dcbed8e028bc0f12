"""Entry of training: both networks, on good pictures. `trainer/training.py` is what it runs.

    python -m training.train --data FOLDER --preset tiny --output runs/bottle
    accelerate launch --num_processes 4 -m training.train --data FOLDER --preset paper --output runs/bottle

The run folder holds config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/ (the published
weights), metrics.json, scores.csv and samples/. `--resume` goes on with an interrupted run.
"""

import sys
from collections.abc import Sequence

from diffusionad.cli.options import run

from .cli import train_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    status = run(train_command, arguments, "python -m training.train")
    distributed = sys.modules.get("torch.distributed")
    if status == 0 and distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()  # left open, its threads now and then abort the exit
    return status


if __name__ == "__main__":
    sys.exit(main())
