"""`python -m training.data`."""

import sys

from .catalog import main

sys.exit(main())
