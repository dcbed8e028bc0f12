"""Evaluation of a trained pipeline on a test split: metrics with intervals, scores, figures and a report.

    python -m training.evaluation --model RUN/pipeline --data FOLDER [--category NAME] --output DIR
    python -m training.evaluation --model 'runs/{category}/pipeline' --data MVTEC --output DIR

The first command evaluates one category; the second evaluates every category of a data set with its own model
and writes the table over all categories, too. Checkpoint and threshold are chosen without the test split.
"""

import csv
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusionad import DiffusionADPipeline
from diffusionad.files import check_finite, replacing
from diffusionad.loading.pretrained import find_folder
from diffusionad.postprocessing.verdict import score_text

from ..data.catalog import Record, scan
from ..run_folder import read_log
from .accumulators import MetricAccumulator, ReconstructionAccumulator
from .bootstrap import REPLICATES
from .figures import write_figures
from .html_report import copy_certificate_figures, write_report
from .metrics import METRICS
from .predictions import Stopwatch, predictions
from .provenance import data_sha256, provenance, short_path

FACTS_OF_RUN = ("steps", "train_minutes", "processes", "train_config", "certificate")
CURVE = (
    "minutes",
    "step",
    "psnr_normal_db",
    "psnr_part_db",
    "gradient_correlation",
    "synthetic_image_auroc",
    "synthetic_pixel_ap",
    "synthetic_pointing_accuracy",
)
# Metrics that are reported over all pictures, too, when there are development pictures.
KEPT = (*METRICS, "per_defect", "n_good", "n_defective")


def evaluate(
    pipeline: DiffusionADPipeline,
    records: list[Record],
    description: str = "test",
    replicates: int = REPLICATES,
    development: Collection[Path] = (),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score every picture and compute the metrics.

    Args:
        pipeline: pipeline with its saved settings.
        records: pictures with labels, and with masks and clean twins as far as they exist.
        description: label of the progress bar.
        replicates: bootstrap replicates behind the intervals; 0 computes no intervals.
        development: pictures used for development. The metrics leave them out; metrics over all pictures
            stand beside them as "with_development_pictures".

    Returns:
        The metrics (JSON types; "absent" names undefined metrics with the reason) and the rows of scores.csv.
    """
    held_out, everything = MetricAccumulator(replicates), MetricAccumulator(replicates)
    from_scratch = MetricAccumulator(replicates)
    reconstruction = ReconstructionAccumulator(pipeline.config.bit_depth)
    stopwatch, started = Stopwatch(), time.perf_counter()
    has_marks: dict[str, list[bool]] = {"good": [], "defective": []}
    pipeline.set_progress_bar_config(disable=True)
    for record, found in predictions(pipeline, records, description, stopwatch):
        counted = (record, found.score, found.anomaly_map, found.is_anomalous, found.p_value)
        if development:
            everything.add(*counted)
        if record.image not in development:
            held_out.add(*counted)
            reconstruction.add(record, found.reconstruction)
            if found.from_scratch is not None:
                from_scratch.add(record, found.from_scratch.score, found.from_scratch.anomaly_map, False)
            has_marks["defective" if record.label else "good"].append(found.has_known_marks)
    calibration, n_development = pipeline.config.calibration, len(records) - len(held_out.records)
    metrics = {
        "category": pipeline.config.category or "unknown",
        **held_out.metrics(),
        "reconstruction": reconstruction.compute(),
        "threshold": pipeline.config.threshold,
        "data_sha256": data_sha256(held_out.records),
        "seconds": time.perf_counter() - started,
    }
    for defect, residue in reconstruction.residues().items():
        metrics["per_defect"][defect]["defect_residue"] = residue
    if development:
        kept = {name: value for name, value in everything.metrics().items() if name in KEPT}
        metrics |= {"n_development": n_development, "with_development_pictures": kept}
    if from_scratch.records:
        metrics["from_scratch"] = _without_rates(from_scratch.metrics())
    if pipeline.mark_memory is not None:
        metrics["with_known_marks"] = {kind: sum(has) / len(has) for kind, has in has_marks.items() if has}
    if calibration is not None:
        metrics["calibration"] = {"n": calibration["n"], "rate": calibration["rate"]}
    if records:
        metrics["images_per_second"] = len(records) / stopwatch.wall
        metrics["cpu_ms_per_picture"] = 1000 * stopwatch.cpu / len(records)
    return metrics, held_out.rows


@contextmanager
def segmenter_sees_the_picture_twice(pipeline: DiffusionADPipeline) -> Iterator[None]:
    """Replace the segmenter's second input, the reconstruction, by the picture itself."""
    hook = pipeline.segmenter.register_forward_pre_hook(lambda segmenter, inputs: (inputs[0], inputs[0]))
    try:
        yield
    finally:
        hook.remove()


def _without_rates(metrics: dict[str, Any]) -> dict[str, Any]:
    """Keep the metrics that need no threshold: it was calibrated with the pretrained features."""
    for of_defect in metrics["per_defect"].values():
        del of_defect["detection_rate"]
    return {name: metrics[name] for name in (*METRICS, "per_defect") if name in metrics}


def write_results(output: Path, metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write scores.csv, then metrics.json, which says that all figures are there.

    Raises:
        ValueError: a metric is NaN or infinite; the message names it.
    """
    check_finite(metrics, "metrics.json")
    output.mkdir(parents=True, exist_ok=True)
    with (output / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["file"])
        writer.writeheader()
        writer.writerows(rows)
    with replacing(output / "metrics.json") as partial:
        partial.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def headline(metrics: dict[str, Any]) -> str:
    """Return the metrics of one category for a terminal, a line each."""
    lines = []
    for name in METRICS:
        if name in metrics:
            low, high = metrics[name]["interval"]
            lines.append(f"{name:14s} {metrics[name]['value']:.4f}   95 % {low:.4f} to {high:.4f}")
        else:
            lines.append(f"{name:14s} absent: {metrics['absent'][name]}")
    threshold = score_text(metrics["threshold"], 4)
    for name in ("false_alarm_rate", "detection_rate"):
        if name in metrics:
            lines.append(f"{name:14s} {metrics[name]:.4f}   at threshold {threshold}")
    if "from_scratch" in metrics:
        own = [f"{name} {metrics['from_scratch'][name]['value']:.4f}" for name in METRICS if name in metrics]
        lines.append(f"Without pretrained features: {', '.join(own)}")
    if "warning" in metrics:
        lines.append(f"Warning: {metrics['warning']}")
    return "\n".join(lines)


def read_development(path: Path, records: list[Record]) -> set[Path]:
    """Return the test pictures that a list names, a line each (`crack/007.png`); # starts a comment.

    Raises:
        FileNotFoundError: the list does not exist.
        ValueError: a line names no test picture, or the list leaves none to test on.
    """
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    known = {f"{record.defect}/{record.image.name}": record.image for record in records}
    listed = {line for line in lines if line}
    unknown = sorted(listed - set(known))
    if unknown:
        raise ValueError(
            f"`--development`: `{path}` names {unknown[0]}, which is no test picture of the data."
        )
    if len(listed) == len(known):
        raise ValueError(f"`--development`: `{path}` names every test picture; leave some to measure on.")
    return {known[name] for name in listed}


def facts_of_run(folder: Path, sha256: str) -> dict[str, Any]:
    """Return facts of the run that trained exactly these weights; empty without such a run.

    "curve" holds the validation metrics on held-out synthetic defects over the training time.
    """
    file = folder.parent / "metrics.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    if found.get("pipeline_sha256") != sha256:
        return {}
    facts = {name: found[name] for name in FACTS_OF_RUN if name in found}
    if "train_config" in facts:
        for section, name in (("data", "path"), ("distillation", "teacher")):
            section_of_run = facts["train_config"].get(section, {})
            section_of_run[name] = short_path(section_of_run.get(name, ""))
    validated = [row for row in read_log(folder.parent / "log.jsonl") if "psnr_normal_db" in row]
    facts["curve"] = [{name: row[name] for name in CURVE if name in row} for row in validated]
    return facts | {"train_command": found["command"], "train_machine": found["machine"]}


def evaluate_folder(
    model: str, data: str, output: Path, category: str | None = None, development: Path | None = None
) -> dict[str, Any]:
    """Evaluate one category and write metrics, scores, figures and report into `output`.

    Args:
        model: folder or Hub id of a pipeline.
        data: data set, or folder of one category.
        output: folder for the results.
        category: category of the data set; None where `data` holds one.
        development: list of test pictures used for development, see `read_development`.

    Returns:
        The contents of metrics.json.

    Raises:
        FileNotFoundError: data, model or list of development pictures do not exist.
        ValueError: there are no test pictures, masks do not fit, or the model cannot be loaded.
    """
    catalog = scan(data, category)
    if not catalog.test:
        raise ValueError(
            f"`{data}` has no test pictures of {catalog.category}; put them into `test/good` and "
            "`test/<defect>`."
        )
    folder = find_folder(model)
    pipeline = DiffusionADPipeline.from_pretrained(folder)
    seen = set() if development is None else read_development(development, catalog.test)
    metrics, rows = evaluate(pipeline, catalog.test, catalog.category, development=seen)
    if pipeline.config.category is None:
        metrics["category"] = catalog.category
    metrics |= provenance(pipeline, folder)
    metrics |= facts_of_run(Path(folder), metrics["pipeline_sha256"])
    write_results(output, metrics, rows)
    unseen = [record for record in catalog.test if record.image not in seen]
    write_figures(pipeline, unseen, metrics, rows, output / "figures")
    if "certificate" in metrics:
        copy_certificate_figures(Path(folder).parent / "certificate", output / "figures")
    write_report(output, metrics)
    return metrics
