"""How long the standing tests go on: a few seconds in `make test`, minutes in `make soak`.

A long form adds what it tried, and what came of it, to the file that SOAK names.
"""

import json
import os
from pathlib import Path

REPORT = os.environ.get("SOAK", "")


def times(short: int, long: int) -> int:
    """Return how often to try."""
    return long if REPORT else short


def report(name: str, **facts: object) -> None:
    """Keep what a long form has tried; short forms say nothing."""
    if not REPORT:
        return
    path = Path(REPORT)
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**found, name: facts}, indent=1) + "\n")
