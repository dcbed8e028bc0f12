"""`python -m training.synthesis`."""

import sys

from .preview import main

sys.exit(main())
