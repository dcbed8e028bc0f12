"""What an inspection says about a picture: as a sentence, in results.csv, in results.json."""

import csv
import json
import os
import platform
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from PIL import Image

from diffusionad import __version__
from diffusionad.files import replacing
from diffusionad.inspection.trace import settings_sha256, weights_sha256
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.regions import Region
from diffusionad.postprocessing.verdict import Verdict

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

CSV_COLUMNS = (
    "file",
    "verdict",
    "score",
    "threshold",
    "p_value",
    "false_alarm_rate",
    "n",
    "is_known",
    "familiarity_p_value",
    "regions",
    "boxes",
    "known_marks",
    "seconds",
    "overlay",
    "error",
    "picture_sha256",
)


# Of a picture that could not be inspected.
NO_FIGURES = dict.fromkeys(
    ("score", "threshold", "p_value", "false_alarm_rate", "n", "is_known", "familiarity_p_value")
)


@dataclass(frozen=True)
class Result:
    """One picture: a verdict, or the error that kept it from being inspected.

    Attributes:
        file: the picture.
        verdict: None when it could not be inspected.
        regions: defective regions, highest peak first.
        known_marks: marks faded in the map, as good parts carry them.
        seconds: of the networks and the scoring, the picture's share of its batch.
        overlay: the picture drawn for it, if any.
        error: why it could not be inspected.
        picture_sha256: of the file; None when it could not be read.
    """

    file: Path
    verdict: Verdict | None = None
    regions: tuple[Region, ...] = ()
    known_marks: tuple[KnownMark, ...] = ()
    seconds: float | None = None
    overlay: Path | None = None
    error: str | None = None
    picture_sha256: str | None = None

    @property
    def word(self) -> str:
        """Return good, defective, unknown or error."""
        return self.verdict.word if self.verdict else "error"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the same keys for every picture."""
        figures = self.verdict.to_dict() if self.verdict else {"verdict": self.word} | NO_FIGURES
        return {
            "file": str(self.file),
            **figures,
            "regions": [asdict(region) for region in self.regions],
            "known_marks": [asdict(mark) for mark in self.known_marks],
            "seconds": self.seconds,
            "overlay": self.overlay and str(self.overlay),
            "error": self.error,
            "picture_sha256": self.picture_sha256,
        }


def header(pipeline: "DiffusionADPipeline", model: str) -> dict[str, Any]:
    """Return the head of results.json: model, device, settings, calibration, versions, and their hashes.

    Args:
        pipeline: with its settings.
        model: as the user names it.
    """
    hashes = {"weights_sha256": weights_sha256(pipeline), "settings_sha256": settings_sha256(pipeline)}
    settings = pipeline.settings()
    calibration = settings.pop("calibration")
    # An export has no networks of its own, but says what was exported how.
    exported = getattr(pipeline, "about", None)
    dtype = str(pipeline.unet.dtype).removeprefix("torch.") if exported is None else exported["precision"]
    runtime = ("torch", "diffusers") if exported is None else (exported["runtime"],)
    return {
        "model": model,
        **hashes,
        "device": str(pipeline.device),
        "dtype": dtype,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": settings,
        "calibration": calibration and {k: v for k, v in calibration.items() if k != "scores"},
        "versions": {
            "diffusionad": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in (*runtime, "numpy", "pillow")},
        },
    }


class ResultWriter:
    """Stream results into `results.csv` and `results.json`, which appear whole when the writer is closed.

    Until then they grow under the names `.results.….partial`; nothing is kept in memory. An exception closes
    the files properly, too: the results until then are kept. The column `boxes` of
    the CSV file has `left top right bottom` of each region, in pixels, with `;` between regions.

    Args:
        folder: where to write; must exist.
        header: head of the JSON file, as `header` returns it.
        total: number of pictures to come, tells a complete run from an interrupted one.
        relative: write paths of pictures and overlays relative to `folder`: a report can be moved with its
            pictures. False writes the names as they are.
    """

    def __init__(self, folder: Path, header: dict[str, Any], total: int, relative: bool = False):
        self._base = folder if relative else None
        self.paths = folder / "results.csv", folder / "results.json"
        self.counts: Counter[str] = Counter()  # by the word of the result
        self._total = total
        self._files = ExitStack()
        self._csv_file, self._json_file = map(self._open, self.paths)
        self._csv = csv.DictWriter(self._csv_file, CSV_COLUMNS)
        self._csv.writeheader()
        self._json_file.write(json.dumps(header, indent=1)[:-2] + ',\n "results": [')

    def add(self, result: Result) -> None:
        row = result.to_dict()
        if self._base is not None:
            row |= {name: relative_to(row[name], self._base) for name in ("file", "overlay") if row[name]}
        separator = ",\n  " if self.counts.total() else "\n  "
        self._json_file.write(separator + json.dumps(row))
        boxes = "; ".join(" ".join(map(str, region.box)) for region in result.regions)
        counts = {"regions": len(result.regions), "known_marks": len(result.known_marks)}
        texts = {name: as_cell(row[name]) for name in ("file", "overlay", "error") if row[name]}
        self._csv.writerow(row | counts | texts | {"boxes": boxes})
        self.counts[result.word] += 1

    def summary(self) -> dict[str, int | bool]:
        done = self.counts.total()
        names = {"defective": "defective", "good": "good", "unknown": "unknown", "unreadable": "error"}
        return {
            "pictures": done,
            **{name: self.counts[word] for name, word in names.items()},
            "complete": done == self._total,
        }

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._json_file.write(f'\n ],\n "summary": {json.dumps(self.summary())}\n}}\n')
        # A run that failed before its first picture leaves an earlier result alone.
        failure = (None, None, None) if self.counts else exception
        self._files.__exit__(*failure)

    def _open(self, path: Path) -> TextIO:
        place = self._files.enter_context(replacing(path))
        # Names of files need not be valid Unicode; they come out as the bytes that they are.
        file = open(place, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
        return self._files.enter_context(file)


def relative_to(path: str, folder: Path) -> str:
    """Return a path as seen from a folder, with forward slashes; absolute where no such way exists."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return os.path.abspath(path)


def as_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: a quote goes before what would start one."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # Level 1 is several times faster than the default, for files a little larger.
        image.save(partial, format="PNG", compress_level=1)
