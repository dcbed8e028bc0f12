"""`python -m training.synthesis`."""

import sys

from diffusionad.cli.options import run

from ..cli import preview_command

if __name__ == "__main__":
    sys.exit(run(preview_command, None, "python -m training.synthesis"))
