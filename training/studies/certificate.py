"""How far can a certificate be trusted? Its predictions for real defects against what the model finds.

    python -m training.studies.certificate RUN --data DATA --certificate DIR --output benchmarks/certificate_X

DIR is what `diffusionad certify RUN/pipeline` wrote. Size and contrast of each real defect are measured from
its true mask; the certificate says how often a synthetic defect like it is found; `RUN/scores.csv` says
whether the picture was called defective. A defect is taken for a dot of its area, and where it is long also
for a scratch of its length, whichever is found more often. Its contrast has two readings that bracket it: the
mean over the mask, which light and dark parts of a defect cancel, and its strongest tenth, which the part's
own texture under the mask raises. Both are taken from the median around the defect.
"""

import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import ndimage
from scipy.special import expit

from diffusionad import read_image
from diffusionad.cli.options import CannotRun, data_option, output_option, run
from diffusionad.files import replacing

from ..data.catalog import Record, scan
from ..data.masks import read_mask
from ..evaluation.localisation import dilate

LONG = 3.0  # times as long as wide: also a scratch
STRONGEST = 0.9  # quantile
READINGS = ("mean", "strongest")
BINS = ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0))  # of predicted rates
REPLICATES = 1000
# Of the certificate, beside the comparison.
KEPT = (
    "seed",
    "good_pictures",
    "defects",
    "side_pixels",
    "grain_levels",
    "agreement_with_verdict",
    "families",
)


@dataclass(frozen=True)
class RealDefect:
    """A connected defect of a true mask.

    Attributes:
        diameter: of a disc of its area, in pixels.
        length: its longest extent, in pixels.
        is_long: longer than `LONG` times its width.
        contrast: grey levels by reading; negative where it is darker than the part around it.
    """

    diameter: float
    length: float
    is_long: bool
    contrast: dict[str, float]


def defects_of(picture: np.ndarray, mask: np.ndarray) -> list[RealDefect]:
    """Measure each defect; marks within 2 % of the side of each other are one.

    Args:
        picture: float [H,W,3] in [0, 1].
        mask: bool [H,W].
    """
    grey = 255 * picture.mean(axis=-1)
    near = dilate(mask)
    labels, count = ndimage.label(near, np.ones((3, 3)))
    return [_measured(grey, mask & (labels == n), (labels == n) & ~mask) for n in range(1, count + 1)]


def _measured(grey: np.ndarray, inside: np.ndarray, ring: np.ndarray) -> RealDefect:
    area, points = inside.sum(), np.argwhere(inside)
    # The standard deviation of a bar is its length over the root of 12.
    spread = np.cov(points.T, bias=True) if area > 1 else np.zeros((2, 2))
    short, long = np.sqrt(12 * np.maximum(np.linalg.eigvalsh(spread), 1 / 12))
    around = float(np.median(grey[ring]))
    change = grey[inside] - around
    mean = float(change.mean())
    strongest = float(np.quantile(np.abs(change), STRONGEST))
    return RealDefect(
        2 * math.sqrt(area / math.pi),
        float(long),
        bool(long > LONG * short),
        {"mean": mean, "strongest": math.copysign(strongest, mean)},
    )


def predicted(certificate: dict[str, Any], defect: RealDefect, reading: str) -> float:
    """Return the rate at which a certificate says that a defect is found, in [0, 1]."""
    levels = defect.contrast[reading]
    rates = [0.0]
    for shape, size in (("dots", defect.diameter), *([("scratches", defect.length)] * defect.is_long)):
        for family in certificate["families"]:
            if family["shape"] == shape and (family["tone"] == "dark") == (levels < 0):
                a, b, c = (family["fit"][name] for name in ("intercept", "log2_size", "log2_levels"))
                rates.append(float(expit(a + b * math.log2(size) + c * math.log2(max(abs(levels), 1.0)))))
    return max(rates)


def compare(certificate: dict[str, Any], records: list[Record], found: dict[str, bool]) -> dict[str, Any]:
    """Compare predictions with verdicts.

    Args:
        certificate: of certificate.json.
        records: defective pictures with masks.
        found: whether a picture was called defective, by "defect/name".
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        name = f"{record.defect}/{record.image.name}"
        picture = read_image(record.image)
        defects = defects_of(picture, read_mask(record.mask, picture.shape[:2]))
        # A picture is called defective when one of its defects is found.
        rates = {
            reading: 1 - math.prod(1 - predicted(certificate, defect, reading) for defect in defects)
            for reading in READINGS
        }
        rows.append({"file": name, "found": found[name], "predicted": rates, "defects": len(defects)})
    hits = np.array([row["found"] for row in rows])
    drawn = np.random.default_rng(0).integers(len(rows), size=(REPLICATES, len(rows)))
    result: dict[str, Any] = {
        "pictures": len(rows),
        "found": float(hits.mean()),
        "found_interval": _interval(hits[drawn].mean(axis=1)),
        "readings": {},
    }
    for reading in READINGS:
        predictions = np.array([row["predicted"][reading] for row in rows])
        result["readings"][reading] = {
            "predicted": float(predictions.mean()),
            "predicted_minus_found": float((predictions - hits).mean()),
            "interval": _interval((predictions - hits)[drawn].mean(axis=1)),
            "ranks": _ranks(predictions, hits),
            "bins": [_bin(predictions, hits, low, high) for low, high in BINS],
        }
    return result | {"rows": rows}


def _interval(values: np.ndarray) -> list[float]:
    """Return the 95 % interval of replicates [R]; differences may be negative."""
    return [float(v) for v in np.percentile(values, [2.5, 97.5])]


def _ranks(rates: np.ndarray, hits: np.ndarray) -> float | None:
    """Return how often a found picture has the higher rate than a missed one; None without both."""
    if hits.all() or not hits.any():
        return None
    pairs = rates[hits][:, None] - rates[~hits]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


def _bin(rates: np.ndarray, hits: np.ndarray, low: float, high: float) -> dict[str, Any]:
    kept = (rates >= low) & ((rates < high) | (high == 1))
    mean = {"predicted": float(rates[kept].mean()), "found": float(hits[kept].mean())} if kept.any() else {}
    return {"from": low, "to": high, "pictures": int(kept.sum()), **mean}


def table(result: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    low, high = result["found_interval"]
    tried = result["certificate"]["defects"]
    lines = [
        f"Found at the threshold: {result['found']:.0%} of {result['pictures']} defective pictures "
        f"({low:.0%} to {high:.0%}). The certificate has {tried} synthetic defects.",
        "",
        "| contrast | predicted | predicted - found | 95 % interval | ranks found above missed |"
        + "".join(f" predicted {a:.0%} to {b:.0%}: pictures, found |" for a, b in BINS),
        "| --- | --: | --: | --: | --: |" + " --: |" * len(BINS),
    ]
    for name, row in result["readings"].items():
        ranks = "-" if row["ranks"] is None else f"{row['ranks']:.2f}"
        low, high = row["interval"]
        bins = [f"{b['pictures']}, {b['found']:.0%}" if b["pictures"] else "0" for b in row["bins"]]
        cells = [name, f"{row['predicted']:.0%}", f"{row['predicted_minus_found']:+.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{low:+.2f} to {high:+.2f}', ranks, *bins])} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@data_option("The data set whose test pictures are in RUN/scores.csv.")
@click.option(
    "--certificate",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="What `diffusionad certify RUN/pipeline` wrote.",
)
@output_option("Stem of the .json and the .md file.")
def certificate_command(run_folder: Path, data: str, folder: Path, output: Path) -> None:
    """Compare a certificate with the real defects of a test split."""
    scores, file = run_folder / "scores.csv", folder / "certificate.json"
    for path in (scores, file):
        if not path.is_file():
            raise CannotRun(f"`{path}` is missing; give a finished run, and its certificate.")
    with scores.open(newline="", encoding="utf-8") as lines:
        found = {row["file"]: row["is_anomalous"] == "True" for row in csv.DictReader(lines)}
    records = [r for r in scan(data).test if r.mask and f"{r.defect}/{r.image.name}" in found]
    if not records:
        raise CannotRun(f"`{scores}` knows no defective picture with a mask of `{data}`.")
    certificate = json.loads(file.read_text(encoding="utf-8"))
    of_certificate = {name: certificate[name] for name in KEPT if name in certificate}
    result = {"certificate": of_certificate, **compare(certificate, records, found)}
    with replacing(output.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(table(result), encoding="utf-8")
    click.echo(table(result), nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(certificate_command, arguments, "python -m training.studies.certificate")


if __name__ == "__main__":
    sys.exit(main())
