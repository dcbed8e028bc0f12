"""A trained pipeline against a test split: metrics.json, scores.csv and panels of the pictures.

python -m training.evaluation --model RUN/pipeline --data FOLDER --output DIR
"""

import argparse
import csv
import json
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from diffusionad import DiffusionADPipeline
from diffusionad.image_io import read_image, resize
from diffusionad.results import verdicts_of
from diffusionad.visualize import panel
from training.catalog import Record, scan
from training.metrics import PixelMetrics, image_metrics

BATCH = 16


def evaluate(
    pipeline: DiffusionADPipeline, records: list[Record], description: str = "test"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score every picture and measure.

    Args:
        pipeline: with its saved settings.
        records: pictures with labels; masks and clean twins where there are any.
        description: of the progress bar.

    Returns:
        The metrics (JSON types; a metric that is undefined is absent) and a row a picture for scores.csv.
    """
    pixels, twins, rows = PixelMetrics(), TwinErrors(pipeline.config.image_size), []
    pipeline.set_progress_bar_config(disable=True)
    started = time.perf_counter()
    with tqdm(total=len(records), desc=description, unit="picture", disable=None) as bar:
        for batch in _batches(records):
            result = pipeline([record.image for record in batch], output_type="np", batch_size=BATCH)
            p_values = [None] * len(batch) if result.p_value is None else result.p_value.tolist()
            for i, record in enumerate(batch):
                anomaly_map = result.anomaly_map[i]
                if record.label == 0 or record.mask is not None:
                    pixels.add(anomaly_map, read_mask(record.mask, anomaly_map.shape))
                twins.add(record, result.reconstruction[i])
                rows.append(
                    {
                        "file": f"{record.defect}/{record.image.name}",
                        "label": record.label,
                        "score": float(result.score[i]),
                        "is_anomalous": bool(result.is_anomalous[i]),
                        "p_value": p_values[i],
                    }
                )
            bar.update(len(batch))
    seconds = time.perf_counter() - started
    labels = np.array([row["label"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    verdicts = np.array([row["is_anomalous"] for row in rows])
    defects = np.array([record.defect for record in records])
    per_defect = {}
    for defect in sorted(set(defects[labels == 1])):
        chosen = (labels == 0) | (defects == defect)
        found = image_metrics(labels[chosen], scores[chosen])
        if found:
            per_defect[str(defect)] = {
                "n": int((defects == defect).sum()),
                "image_auroc": found["image_auroc"],
                "detected": float(verdicts[defects == defect].mean()),
            }
    metrics = {
        **image_metrics(labels, scores),
        **pixels.compute(),
        "per_defect": per_defect,
        "reconstruction": twins.compute(),
        "false_alarm_rate": float(verdicts[labels == 0].mean()) if (labels == 0).any() else None,
        "detection_rate": float(verdicts[labels == 1].mean()) if (labels == 1).any() else None,
        "threshold": pipeline.config.threshold,
        "n_good": int((labels == 0).sum()),
        "n_defective": int((labels == 1).sum()),
        "images_per_second": len(records) / seconds,
    }
    return {k: v for k, v in metrics.items() if v not in (None, {})}, rows


class TwinErrors:
    """How far the reconstruction is from the clean twin, at the model's size."""

    def __init__(self, size: int):
        self.size = (size, size)
        self.inside_before = self.inside_after = 0.0
        self.squared, self.normal_pixels = 0.0, 0

    def add(self, record: Record, reconstruction: np.ndarray) -> None:
        """Compare one reconstruction, [S,S,3] in [0, 1]; normal pictures are their own clean twins."""
        image = resize(read_image(record.image), self.size)
        if record.label == 0:
            self.squared += float(np.square(reconstruction - image).sum(dtype=np.float64))
            self.normal_pixels += image.size
        elif record.clean is not None and record.mask is not None:
            clean = resize(read_image(record.clean), self.size)
            mask = resize(read_mask(record.mask, None).astype(np.float32), self.size) > 0
            self.inside_before += float(np.abs(image - clean)[mask].sum(dtype=np.float64))
            self.inside_after += float(np.abs(reconstruction - clean)[mask].sum(dtype=np.float64))

    def compute(self) -> dict[str, float]:
        """`psnr_normal_db` over normal pictures; `defect_residue`, 0 a perfect repair, 1 none."""
        found = {}
        if self.squared > 0:
            found["psnr_normal_db"] = float(-10 * np.log10(self.squared / self.normal_pixels))
        if self.inside_before > 0:
            found["defect_residue"] = self.inside_after / self.inside_before
        return found


def read_mask(path: Path | None, shape: tuple[int, int] | None) -> np.ndarray:
    """[H,W] bool; all False without a file.

    Raises:
        ValueError: the mask has another size than its picture.
    """
    if path is None:
        assert shape is not None
        return np.zeros(shape, dtype=bool)
    with Image.open(path) as image:
        mask = np.asarray(image.convert("L")) > 0
    if shape is not None and mask.shape != tuple(shape):
        raise ValueError(
            f"`{path}` is {mask.shape[1]} x {mask.shape[0]}, its picture {shape[1]} x {shape[0]}; "
            "a mask must have the size of its picture."
        )
    return mask


def write_results(output: Path, metrics: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """metrics.json and scores.csv."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "metrics.json").write_text(
        json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    with (output / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["file"])
        writer.writeheader()
        writer.writerows(rows)


def write_samples(pipeline: DiffusionADPipeline, records: list[Record], folder: Path, count: int) -> None:
    """Panels of up to `count` test pictures, evenly spread over the kinds of defect."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = sorted({record.defect for record in records})
    by_kind = {kind: [r for r in records if r.defect == kind] for kind in kinds}
    for i in range(min(count, len(records))):
        kind = kinds[i % len(kinds)]
        if i // len(kinds) >= len(by_kind[kind]):
            continue
        record = by_kind[kind][i // len(kinds)]
        result = pipeline(record.image)
        picture = panel(
            read_image(record.image),
            result.reconstruction[0],
            result.anomaly_map[0],
            result.mask[0],
            verdicts_of(result, pipeline.config.calibration)[0],
            title=f"{kind}/{record.image.name}",
        )
        picture.save(folder / f"{kind}_{record.image.stem}.png")


def provenance(pipeline: DiffusionADPipeline) -> dict[str, Any]:
    """What a figure needs beside it to be written again."""
    return {
        "command": " ".join(["python", "-m", *_module_and_arguments()]),
        "settings": {k: v for k, v in pipeline.settings().items() if k != "calibration"},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _module_and_arguments() -> list[str]:
    path = Path(sys.argv[0])
    return [f"{path.parent.name}.{path.stem}", *sys.argv[1:]]


def _batches(records: list[Record]) -> Iterable[list[Record]]:
    return (records[i : i + BATCH] for i in range(0, len(records), BATCH))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluation", description=__doc__)
    parser.add_argument("--model", required=True, help="folder or Hub id of a pipeline")
    parser.add_argument("--data", required=True, help="data set in MVTec-AD layout")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for metrics.json, scores.csv, samples/"
    )
    parser.add_argument("--samples", type=int, default=8, help="panels of test pictures to write")
    args = parser.parse_args(arguments)
    try:
        records = scan(args.data).test
        if not records:
            raise ValueError(
                f"`{args.data}` has no test pictures; put them into `test/good` and `test/<defect>`."
            )
        pipeline = DiffusionADPipeline.from_pretrained(args.model)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    metrics, rows = evaluate(pipeline, records)
    write_results(args.output, {**metrics, **provenance(pipeline)}, rows)
    write_samples(pipeline, records, args.output / "samples", args.samples)
    print(json.dumps({k: v for k, v in metrics.items() if k != "per_defect"}, indent=2))


if __name__ == "__main__":
    main()
