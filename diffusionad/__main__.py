"""`python -m diffusionad`."""

import sys

from diffusionad.cli.main import main

sys.exit(main())
