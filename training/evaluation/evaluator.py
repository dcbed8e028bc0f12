"""A trained pipeline against a test split: figures with intervals, scores, pictures and a report.

    python -m training.evaluation --model RUN/pipeline --data FOLDER [--category NAME] --output DIR
    python -m training.evaluation --model 'runs/{category}/pipeline' --data MVTEC --output DIR

The first measures one category; the second every category of a data set as downloaded, each with its own
model, and writes the table over all of them as well. The test split chooses nothing: not the checkpoint,
not the threshold.
"""

import argparse
import csv
import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffusionad import DiffusionADPipeline
from diffusionad.files import check_finite
from diffusionad.inspection.results import score_text
from diffusionad.loading.pretrained import find_folder

from ..data.catalog import Record, categories, scan
from ..trainer.curves import read_log
from .accumulators import Tally, TwinErrors
from .bootstrap import REPLICATES
from .figures import write_figures
from .html_report import write_report
from .metrics import METRICS
from .provenance import data_sha256, provenance, short_path
from .tables import write_tables

BATCH = 16
FACTS_OF_RUN = ("steps", "train_minutes", "processes", "train_config")
CURVE = ("minutes", "step", "psnr_normal_db", "synthetic_image_auroc", "synthetic_pixel_ap")
# Of the figures over all test pictures, beside those over the ones that no choice was made with.
KEPT = (*METRICS, "per_defect", "n_good", "n_defective")


def evaluate(
    pipeline: DiffusionADPipeline,
    records: list[Record],
    description: str = "test",
    replicates: int = REPLICATES,
    development: Collection[Path] = (),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score every picture and measure.

    Args:
        pipeline: with its saved settings.
        records: pictures with labels; masks and clean twins where there are any.
        description: of the progress bar.
        replicates: of the bootstrap behind the intervals; 0 does without them.
        development: files that choices were made with; they are left out, and the metrics with them stand
            beside the others as "with_development_pictures".

    Returns:
        The figures (JSON types; what is undefined is named under "absent" with the reason) and a row a
        picture for scores.csv.
    """
    tally, with_development, twins = Tally(replicates), Tally(replicates), TwinErrors()
    has_marks: dict[str, list[bool]] = {"good": [], "defective": []}
    rest = [record for record in records if record.image not in development]
    pipeline.set_progress_bar_config(disable=True)
    # Pictures in tiles may be large, and each fills the networks' calls by itself.
    step = BATCH if pipeline.config.resize_mode == "stretch" else 1
    started, inspecting, cpu = time.perf_counter(), 0.0, 0.0
    with tqdm(total=len(records), desc=description, unit="picture", disable=None) as bar:
        for batch in (records[i : i + step] for i in range(0, len(records), step)):
            tick, cpu_tick = time.perf_counter(), time.process_time()
            result = pipeline([record.image for record in batch], output_type="np", batch_size=BATCH)
            inspecting += time.perf_counter() - tick
            cpu += time.process_time() - cpu_tick
            p_values = [None] * len(batch) if result.p_value is None else result.p_value.tolist()
            for i, record in enumerate(batch):
                found = result.score[i], result.anomaly_map[i], result.is_anomalous[i], p_values[i]
                if development:
                    with_development.add(record, *found)
                if record.image not in development:
                    tally.add(record, *found)
                    twins.add(record, result.reconstruction[i])
                    has_marks["defective" if record.label else "good"].append(bool(result.known_marks[i]))
            bar.update(len(batch))
    calibration, known_marks = pipeline.config.calibration, pipeline.segmenter.config.known_marks
    metrics = {
        "category": pipeline.config.category or "unknown",
        **tally.metrics(),
        "reconstruction": twins.compute(),
        "threshold": pipeline.config.threshold,
        "n_test": len(rest),
        "data_sha256": data_sha256(rest),
        "seconds": time.perf_counter() - started,
    }
    for defect, residue in twins.residues().items():
        metrics["per_defect"][defect]["defect_residue"] = residue
    if development:
        kept = {k: v for k, v in with_development.metrics().items() if k in KEPT}
        metrics |= {"n_development": len(records) - len(rest), "with_development_pictures": kept}
    if known_marks:
        metrics["known_marks"] = known_marks
        metrics["with_known_marks"] = {kind: sum(has) / len(has) for kind, has in has_marks.items() if has}
    if calibration is not None:
        metrics["calibration"] = {"n": calibration["n"], "rate": calibration["rate"]}
    if records:
        metrics["images_per_second"] = len(records) / inspecting
        metrics["cpu_ms_per_picture"] = (
            1000 * cpu / len(records)
        )  # of all cores; a busy machine changes it little
    return metrics, tally.rows


def write_results(output: Path, metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """metrics.json and scores.csv.

    Raises:
        ValueError: a figure is NaN or infinite; the message names it.
    """
    check_finite(metrics, "metrics.json")
    output.mkdir(parents=True, exist_ok=True)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with (output / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["file"])
        writer.writeheader()
        writer.writerows(rows)


def headline(metrics: dict[str, Any]) -> str:
    """The metrics of one category for a terminal, a line each."""
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
    return "\n".join(lines)


def read_development(path: Path, records: list[Record]) -> set[Path]:
    """Test pictures that choices were made with: a line each, such as `crack/007.png`; # is a comment.

    Raises:
        FileNotFoundError: no such list.
        ValueError: it names a picture that is not there, or leaves nothing to test on.
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
    """What the run that trained these very weights says of it; nothing where there is no such run.

    "curve" is what validation found on held-out synthetic defects after how many minutes: the test split is
    looked at once, after the last one.
    """
    file = folder.parent / "metrics.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    if found.get("pipeline_sha256") != sha256:
        return {}
    facts = {name: found[name] for name in FACTS_OF_RUN if name in found}
    if "train_config" in facts:
        facts["train_config"]["data"]["path"] = short_path(facts["train_config"]["data"]["path"])
    validated = [row for row in read_log(folder.parent / "log.jsonl") if "psnr_normal_db" in row]
    facts["curve"] = [{name: row[name] for name in CURVE if name in row} for row in validated]
    return facts | {"train_command": found["command"], "train_machine": found["machine"]}


def evaluate_folder(
    model: str, data: str, output: Path, category: str | None = None, development: Path | None = None
) -> dict[str, Any]:
    """One category: everything that DIR receives.

    Raises:
        FileNotFoundError: no such data, model or list of development pictures.
        ValueError: no test pictures, masks that do not fit, a model that cannot be loaded.
    """
    catalog = scan(data, category)
    if not catalog.test:
        raise ValueError(
            f"`{data}` has no test pictures of {catalog.category}; put them into `test/good` and "
            "`test/<defect>`."
        )
    folder = find_folder(model, None, None, None, None, False)
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
    write_report(output, metrics)
    return metrics


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder or Hub id; {category} stands for its name")
    parser.add_argument(
        "--data", required=True, help="a data set as downloaded, one category of it, or hf:org/name"
    )
    parser.add_argument("--category", help="only this one of the data set")
    parser.add_argument(
        "--development",
        type=Path,
        metavar="LIST",
        help="test pictures that choices were made with, a line each (crack/007.png): left out of the "
        "figures, and those over all pictures stand beside them",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the figures")
    args = parser.parse_args(arguments)
    try:
        if "{category}" not in args.model:
            found = evaluate_folder(args.model, args.data, args.output, args.category, args.development)
            print(headline(found))
        else:
            for name in [args.category] if args.category else categories(args.data):
                model = args.model.replace("{category}", name)
                metrics = evaluate_folder(model, args.data, args.output / name, name)
                print(name, headline(metrics), sep="\n")
            print(write_tables(args.output))
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    print(f"Everything is in {args.output}")
