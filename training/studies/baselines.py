"""Our pipeline and what a user would pick instead, on the same pictures with the same metrics.

    python -m training.studies.baselines --data FOLDER [--model RUN/pipeline] --output benchmarks/peers_NAME

Writes NAME.json and NAME.md, row by row: a run that was stopped, or that a model is given to later, measures
only what is missing. All methods are fitted on the pictures that a training run with this seed would
train on, and take their threshold from those it would calibrate on; the test split is only measured. Without
a model, the rows that need one are left out. Times are seconds of CPU, which a busy machine does not stretch:
set OMP_NUM_THREADS=1 to compare methods on one core.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.images.image_io import read_image, resize
from diffusionad.loading.pretrained import find_folder

from ..config.schema import load_config
from ..data.catalog import Record, scan
from ..data.records import parts_of
from ..evaluation.accumulators import Tally
from ..evaluation.evaluator import evaluate
from ..evaluation.provenance import command, data_sha256, machine, provenance, versions
from ..run_folder import split
from .baseline_methods import PatchMemory, Peer, PixelGaussian, ReconstructionError

OURS = "DiffusionAD"
ERROR = "its reconstruction error alone"
MEMORY = "PatchCore-style memory, EfficientNet-Lite0"
GAUSSIAN = "per-pixel Gaussian"
COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}


def measure_peer(
    peer: Peer, train: list[Path], calibration: list[Path], records: list[Record], name: str
) -> dict[str, Any]:
    """Fit, calibrate, test.

    Args:
        peer: not fitted yet.
        train: good pictures to fit.
        calibration: further good pictures, for the threshold.
        records: the test split.
        name: for the progress bar.
    """
    started = time.process_time()
    peer.fit(train)
    fit_seconds = time.process_time() - started
    normal = [peer.distances(read_image(file)) for file in calibration]
    promise = calibrate([score for _, score in normal])
    # Ranks are all that counts: any rising function into 0..1 does, and this one spreads the values evenly.
    middle = float(np.median(np.concatenate([distances.ravel() for distances, _ in normal])))
    tally, inspecting = Tally(), 0.0
    for record in tqdm(records, desc=name, unit="picture", disable=None):
        tick = time.process_time()
        picture = read_image(record.image)
        distances, score = peer.distances(picture)
        inspecting += time.process_time() - tick
        squashed = (distances / (distances + middle)).astype(np.float32)
        full = resize(squashed, picture.shape[:2]).clip(0, 1)
        tally.add(record, score, full, score > promise.threshold)
    return {
        **tally.metrics(),
        "calibration": {"n": promise.n, "rate": promise.rate},
        "fit_seconds": fit_seconds,
        "ms_per_picture": 1000 * inspecting / len(records),
        "megabytes": peer.megabytes(),
    }


def measure_ours(pipeline: DiffusionADPipeline, folder: Path, records: list[Record]) -> dict[str, Any]:
    """The pipeline as it is saved, with the same keys; how long it trained where its run says so."""
    metrics, _ = evaluate(pipeline, records, OURS)
    stored = [*pipeline.unet.state_dict().values(), *pipeline.segmenter.state_dict().values()]
    row = {name: value for name, value in metrics.items() if name not in ("config", "category")}
    row |= {
        "ms_per_picture": metrics["cpu_ms_per_picture"],
        "megabytes": sum(t.numel() * t.element_size() for t in stored) / 1e6,
    }
    run = folder.parent / "metrics.json"
    if run.is_file() and "train_minutes" in (trained := json.loads(run.read_text(encoding="utf-8"))):
        row["fit_seconds"] = 60 * trained["train_minutes"]
    return row


def markdown_table(rows: dict[str, dict[str, Any]]) -> str:
    """A line a method."""
    head = ["method", *COLUMNS.values(), "found", "false alarms", "fit (CPU)", "CPU ms a picture", "MB"]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for name in sorted(rows, key=(OURS, ERROR, MEMORY, GAUSSIAN).index):
        row = rows[name]
        fit = f"{row['fit_seconds']:.0f} s" if "fit_seconds" in row else "-"
        lines.append(
            [
                name,
                *(f"{100 * row[m]['value']:.1f}" if m in row else "-" for m in COLUMNS),
                *(
                    f"{row[rate]:.1%}" if rate in row else "-"
                    for rate in ("detection_rate", "false_alarm_rate")
                ),
                fit,
                f"{row['ms_per_picture']:.0f}",
                f"{row['megabytes']:.1f}",
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def compare(data: Path, model: str | None, seed: int, path: Path) -> dict[str, Any]:
    """Measure every method whose row `path` does not hold yet, and write each as soon as it is there.

    Returns:
        What is in `path`: "rows" by method, "absent" with the reasons, and where the figures come from.

    Raises:
        FileNotFoundError: no such data or model.
        ValueError: no test pictures, too few to split, or no weights for the memory.
    """
    catalog = scan(data)
    if not catalog.test:
        raise ValueError(f"`{data}` has no test pictures; put them into `test/good` and `test/<defect>`.")
    config = load_config("tiny", [f"optim.seed={seed}"])
    sets = split([r.image for r in catalog.train], config, parts_of(catalog.train))

    def measure(name: str, peer: Peer) -> dict[str, Any]:
        return measure_peer(peer, sets["train"], sets["calibration"], catalog.test, name)

    report: dict[str, Any] = {"category": catalog.category, "absent": {}}
    methods = {
        MEMORY: lambda: measure(MEMORY, PatchMemory(seed=seed)),
        GAUSSIAN: lambda: measure(GAUSSIAN, PixelGaussian()),
    }
    if model is None:
        report["absent"] = dict.fromkeys((OURS, ERROR), "no model was given")
    else:
        folder = find_folder(model, None, None, None, None, False)
        pipeline = DiffusionADPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        report |= provenance(pipeline, folder)
        methods[OURS] = lambda: measure_ours(pipeline, folder, catalog.test)
        methods[ERROR] = lambda: measure(ERROR, ReconstructionError(pipeline))
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
    for name, row in methods.items():
        if name not in report["rows"]:
            report["rows"][name] = row()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def kept_rows(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """The rows in `path` that hold still: same pictures, same seed and, for ours, same weights."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if any(stored[key] != report[key] for key in ("data_sha256", "seed", "n_train")):
        return {}
    same_weights = "pipeline_sha256" in report and stored.get("pipeline_sha256") == report["pipeline_sha256"]
    return {name: row for name, row in stored["rows"].items() if same_weights or name not in (OURS, ERROR)}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.studies.baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, type=Path, help="data set in MVTec-AD layout")
    parser.add_argument("--model", help="folder or Hub id of a pipeline trained on it")
    parser.add_argument("--output", required=True, type=Path, help="NAME.json and NAME.md are written")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the coreset and the noise")
    args = parser.parse_args(arguments)
    try:
        report = compare(args.data, args.model, args.seed, args.output.with_suffix(".json"))
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    table = markdown_table(report["rows"])
    args.output.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table, end="")


if __name__ == "__main__":
    main()
