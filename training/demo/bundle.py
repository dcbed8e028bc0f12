"""Turn trained runs into the embedded models, and measure the shipped weights.

    python -m training.demo.bundle --data DIR --washer RUN --fabric RUN     # embed, then measure
    python -m training.demo.bundle --data DIR                               # measure what is embedded

Pictures of the demo data set that DIR lacks are rendered first. The threshold is calibrated on `normal`, the
false-alarm rate verified on `verify`, everything else measured on `test`; no model was trained on these sets.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.cli.options import data_option, run
from diffusionad.images.image_io import find_images
from diffusionad.loading.bundled import ASSETS

from ..config.loader import load_config, to_toml
from ..data.catalog import scan
from ..evaluation.evaluator import (
    evaluate,
    headline,
    segmenter_sees_the_picture_twice,
    write_results,
)
from ..evaluation.provenance import provenance
from .difficulty import aurocs
from .render import write_category
from .sample import CATEGORIES, DEFECTS, render

FALSE_ALARM_RATE = 0.01
SEED = 0
# Far beyond the test split: no example is trained on or counted in a figure. The washer's examples from
# 1000 on contain a stain that the model misses; the gallery shows defects that it finds.
EXAMPLE_INDEX = {"fabric": 1000, "washer": 3000}


def embed(run: Path, name: str, settings: dict[str, Any]) -> None:
    """Store the weights of a run in fp16, with its config and example pictures."""
    folder = ASSETS / name
    shutil.rmtree(folder, ignore_errors=True)
    pipeline = DiffusionADPipeline.from_pretrained(run / "pipeline", dtype=torch.float16, **settings)
    pipeline.save_pretrained(str(folder))
    config = load_config(str(run / "config.toml"))
    # The path of the data on the training machine is not published.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=name))
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    (folder / "examples").mkdir()
    for i, defect in enumerate([None, *DEFECTS[name], None]):
        sample = render(name, "test", EXAMPLE_INDEX[name] + i, SEED, defect=defect)
        title = f"good_{1 if i == 0 else 2}" if defect is None else defect
        Image.fromarray(sample.image).save(folder / "examples" / f"{title}.png", optimize=True)


def measure(name: str, data: Path) -> dict[str, Any]:
    """Calibrate and measure an embedded model; write its model_index.json, metrics.json and scores.csv."""
    folder = ASSETS / name
    pipeline = DiffusionADPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(desc=f"{name}: calibration", leave=False)
    normal = pipeline(find_images([data / "normal"]))
    peaks = [anomaly_map.max() for anomaly_map in normal.anomaly_map]
    calibration = calibrate(normal.score.tolist(), FALSE_ALARM_RATE, peaks, normal.appearance)
    # Keep the date where nothing else changed, so that measuring again changes no file.
    stored = pipeline.config.calibration
    if stored is not None and {**calibration.to_dict(), "date": None} == {**stored, "date": None}:
        pipeline.configure(threshold=stored["threshold"])
    else:
        pipeline.configure(calibration=calibration)
    pipeline.save_config(str(folder))

    pipeline.set_progress_bar_config(desc=f"{name}: verification", leave=False)
    verified = pipeline(find_images([data / "verify"]))
    records = scan(data).test
    metrics, rows = evaluate(pipeline, records, f"{name}: test")
    with segmenter_sees_the_picture_twice(pipeline):
        twice, _ = evaluate(pipeline, records, f"{name}: picture twice", replicates=0)
    metrics |= {
        "without_reconstruction": {k: twice[k]["value"] for k in ("image_auroc", "pixel_auroc", "aupro")},
        "verification": {
            "n": len(verified.score),
            "false_alarm_rate": float(verified.is_anomalous.mean()),
        },
        "baselines": {name: max(variants.values()) for name, variants in aurocs(data).items()},
        "data": {"command": f"python -m training.demo.render --category {name} --output DIR --seed {SEED}"},
        **provenance(pipeline, folder),
        "command": "python -m training.demo.bundle --data DIR",
    }
    write_results(folder, metrics, rows)
    return metrics


@click.command("bundle")
@data_option("Folder of the rendered data set.")
@click.option("--washer", metavar="RUN", type=click.Path(path_type=Path), help="Run to embed as washer.")
@click.option("--fabric", metavar="RUN", type=click.Path(path_type=Path), help="Run to embed as fabric.")
@click.option("--t-fine", type=int, help="Timestep of the fine noise scale (as trained).")
@click.option("--t-coarse", type=int, help="Timestep of the coarse noise scale (as trained).")
@click.option("--guidance-weight", type=float, help="Weight of the norm guidance (as trained).")
@click.option("--workers", default=2, show_default=True, help="Number of rendering processes.")
def bundle_command(
    data: str, washer: Path | None, fabric: Path | None, workers: int, **settings: float | None
) -> None:
    """Embed trained runs, then measure the embedded models."""
    given = {name: value for name, value in settings.items() if value is not None}
    runs = {"washer": washer, "fabric": fabric}
    for name in CATEGORIES:
        run_folder = runs[name]
        if run_folder is not None:
            embed(run_folder, name, given)
        if not (ASSETS / name / "model_index.json").is_file():
            continue
        metrics = measure(name, write_category(data, name, SEED, workers=workers))
        click.echo(f"{name}\n{headline(metrics)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(bundle_command, arguments, "python -m training.demo.bundle")


if __name__ == "__main__":
    sys.exit(main())
