"""`python -m training.data`."""

import sys

from diffusionad.cli.options import run

from ..cli import catalog_command

if __name__ == "__main__":
    sys.exit(run(catalog_command, None, "python -m training.data"))
