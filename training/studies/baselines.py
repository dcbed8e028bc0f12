"""DiffusionAD and its baselines on the same pictures, with the same metrics.

    python -m training.studies.baselines --data FOLDER --output benchmarks/baselines_NAME
    python -m training.studies.baselines --data FOLDER --model RUN/pipeline --output benchmarks/baselines_NAME

Writes baselines_NAME.json and .md row by row; a later run, perhaps with a model, measures only missing rows.
Every method is fitted on the pictures that a training run with this seed would train on, and takes its
threshold from the pictures that the run would calibrate on. Without a model, the rows that need one are left
out. Times are seconds of CPU, which other work on the machine hardly changes; set OMP_NUM_THREADS=1 to
compare methods on one core.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.cli.options import CannotRun, data_option, model_option, output_option, run
from diffusionad.files import replacing
from diffusionad.images.image_io import read_image, resize
from diffusionad.loading.pretrained import find_folder
from diffusionad.metric_labels import METRIC_LABELS, RATES

from ..config.loader import load_config
from ..data.bit_depth import find_bit_depth
from ..data.catalog import Record, scan
from ..data.records import parts_of
from ..data.split import split
from ..evaluation.accumulators import MetricAccumulator
from ..evaluation.evaluator import evaluate
from ..evaluation.metrics import LOCALISATION_METRICS
from ..evaluation.provenance import command, data_sha256, machine, provenance, versions
from .baseline_methods import Baseline, PatchMemory, PixelGaussian, ReconstructionError

OURS = "DiffusionAD"
ERROR = "its reconstruction error alone"
MEMORY = "PatchCore-style memory, EfficientNet-Lite0"
GAUSSIAN = "per-pixel Gaussian"
METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", *LOCALISATION_METRICS)


def measure_baseline(
    baseline: Baseline,
    train: list[Path],
    calibration: list[Path],
    records: list[Record],
    name: str,
    bit_depth: int | None = None,
) -> dict[str, Any]:
    """Fit, calibrate and test a baseline.

    Args:
        baseline: a detector that is not fitted yet.
        train: good pictures to fit.
        calibration: further good pictures, for the threshold.
        records: pictures of the test split.
        name: label of the progress bar.
        bit_depth: bits that the camera uses of 16-bit pictures.

    Returns:
        The metrics, the calibration, and the costs in seconds, milliseconds and megabytes.
    """
    started = time.process_time()
    baseline.fit(train)
    fit_seconds = time.process_time() - started
    normal = [baseline.distances(read_image(file, bit_depth=bit_depth)) for file in calibration]
    promise = calibrate([score for _, score in normal])
    # The metrics depend on ranks alone: any rising function into 0..1 will do, and this one spreads values.
    middle = float(np.median(np.concatenate([distances.ravel() for distances, _ in normal])))
    metrics, inspecting = MetricAccumulator(), 0.0
    for record in tqdm(records, desc=name, unit="picture", disable=None):
        tick = time.process_time()
        picture = read_image(record.image, bit_depth=bit_depth)
        distances, score = baseline.distances(picture)
        inspecting += time.process_time() - tick
        squashed = (distances / (distances + middle)).astype(np.float32)
        full = resize(squashed, picture.shape[:2]).clip(0, 1)
        metrics.add(record, score, full, score > promise.threshold)
    return {
        **metrics.metrics(),
        "calibration": {"n": promise.n, "rate": promise.rate},
        "fit_seconds": fit_seconds,
        "ms_per_picture": 1000 * inspecting / len(records),
        "megabytes": baseline.megabytes(),
    }


def measure_ours(pipeline: DiffusionADPipeline, folder: Path, records: list[Record]) -> dict[str, Any]:
    """Test the pipeline as it is saved; return the keys of `measure_baseline`, as far as they are known."""
    metrics, _ = evaluate(pipeline, records, OURS)
    stored = [*pipeline.unet.state_dict().values(), *pipeline.segmenter.state_dict().values()]
    row = {name: value for name, value in metrics.items() if name not in ("config", "category")}
    row |= {
        "ms_per_picture": metrics["cpu_ms_per_picture"],
        "megabytes": sum(t.numel() * t.element_size() for t in stored) / 1e6,
    }
    of_run = folder.parent / "metrics.json"
    if of_run.is_file() and "train_minutes" in (trained := json.loads(of_run.read_text(encoding="utf-8"))):
        row["fit_seconds"] = 60 * trained["train_minutes"]
    return row


def markdown_table(rows: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a line a method."""
    rates = [label.label for label in RATES.values()]
    cpu = METRIC_LABELS["cpu_ms_per_picture"].label
    head = ["method", *(METRIC_LABELS[name].label for name in METRICS), *rates, "fit (CPU)", cpu, "MB"]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for name in sorted(rows, key=(OURS, ERROR, MEMORY, GAUSSIAN).index):
        row = rows[name]
        lines.append(
            [
                name,
                *(f"{100 * row[metric]['value']:.1f}" if metric in row else "-" for metric in METRICS),
                *(f"{row[rate]:.1%}" if rate in row else "-" for rate in RATES),
                f"{row['fit_seconds']:.0f} s" if "fit_seconds" in row else "-",
                f"{row['ms_per_picture']:.0f}",
                f"{row['megabytes']:.1f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def compare(data: str, model: str | None, seed: int, path: Path) -> dict[str, Any]:
    """Measure every method whose row `path` lacks, and write each row as soon as it is measured.

    Args:
        data: data set with a test split.
        model: folder or Hub id of a pipeline trained on it; None leaves its rows out.
        seed: seed of the split, the coreset and the noise.
        path: JSON file of the rows.

    Returns:
        The contents of `path`: "rows" by method, "absent" with the reasons, and the provenance.

    Raises:
        FileNotFoundError: data or model do not exist.
        ValueError: there are no test pictures, too few to split, or no weights for the memory.
    """
    catalog = scan(data)
    if not catalog.test:
        raise ValueError(f"`{data}` has no test pictures; put them into `test/good` and `test/<defect>`.")
    config = load_config("tiny", [f"optim.seed={seed}"])
    sets = split([r.image for r in catalog.train], config, parts_of(catalog.train))

    bit_depth = find_bit_depth(record.image for record in catalog.train)

    def measure(name: str, baseline: Baseline, depth: int | None = bit_depth) -> dict[str, Any]:
        return measure_baseline(baseline, sets["train"], sets["calibration"], catalog.test, name, depth)

    report: dict[str, Any] = {"category": catalog.category, "absent": {}}
    methods: dict[str, Callable[[], dict[str, Any]]] = {
        MEMORY: lambda: measure(MEMORY, PatchMemory(seed=seed, bit_depth=bit_depth)),
        GAUSSIAN: lambda: measure(GAUSSIAN, PixelGaussian(bit_depth)),
    }
    if model is None:
        report["absent"] = dict.fromkeys((OURS, ERROR), "no model was given")
    else:
        folder = find_folder(model)
        pipeline = DiffusionADPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        report |= provenance(pipeline, folder)
        methods[OURS] = lambda: measure_ours(pipeline, folder, catalog.test)
        methods[ERROR] = lambda: measure(ERROR, ReconstructionError(pipeline), pipeline.config.bit_depth)
    report |= {
        "n_train": len(sets["train"]),
        "n_test": len(catalog.test),
        "data_sha256": data_sha256(catalog.test),
        "command": command(),
        "seed": seed,
        "versions": versions(),
        "machine": machine(),
    }
    report["rows"] = kept_rows(report, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, row in methods.items():
        if name not in report["rows"]:
            report["rows"][name] = row()
        with replacing(path) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def kept_rows(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the rows in `path` that still hold: same pictures, same seed and, for ours, same weights."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if any(stored[key] != report[key] for key in ("data_sha256", "seed", "n_train")):
        return {}
    same_weights = "pipeline_sha256" in report and stored.get("pipeline_sha256") == report["pipeline_sha256"]
    return {name: row for name, row in stored["rows"].items() if same_weights or name not in (OURS, ERROR)}


@click.command("baselines")
@data_option("Data set with a test split.")
@model_option(required=False)
@output_option("Base name of the results: NAME.json and NAME.md.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split, the coreset and the noise.")
def baselines_command(data: str, model: str | None, output: Path, seed: int) -> None:
    """Measure a trained pipeline and its baselines on the same pictures."""
    try:
        report = compare(data, model, seed, output.with_suffix(".json"))
    except (ValueError, FileNotFoundError) as error:
        raise CannotRun(str(error)) from error
    table = markdown_table(report["rows"])
    output.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table, nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(baselines_command, arguments, "python -m training.studies.baselines")


if __name__ == "__main__":
    sys.exit(main())
