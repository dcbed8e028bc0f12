"""`python -m training.evaluation`."""

import sys

from .evaluator import main

sys.exit(main())
