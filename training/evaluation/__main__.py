"""`python -m training.evaluation`."""

import sys

from diffusionad.cli.options import run

from ..cli import evaluate_command

if __name__ == "__main__":
    sys.exit(run(evaluate_command, None, "python -m training.evaluation"))
