"""Write the report of a benchmark."""

import json
from pathlib import Path
from typing import Any

from diffusionad.files import check_finite, replacing


def write_report(output: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON, complete or not at all; create its folder.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    check_finite(report, output.name)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
