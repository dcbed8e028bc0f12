"""From two trained runs to the embedded models, and their figures from the shipped weights.

    python -m training.demo.bundle --data DIR --washer RUN --fabric RUN     # embed, then measure
    python -m training.demo.bundle --data DIR                               # measure what is embedded

`training.demo.render` has rendered the data set into DIR, or does so now. The threshold is calibrated
on `normal`, the promise verified on `verify`, everything else measured on `test`: three sets that trained
nothing.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.images.image_io import find_images
from diffusionad.loading.bundled import ASSETS

from ..config.schema import load_config, to_toml
from ..data.catalog import scan
from ..evaluation.evaluator import evaluate, headline, write_results
from ..evaluation.provenance import provenance
from ..studies.ablation import segmenter_sees_the_picture_twice
from .difficulty import aurocs
from .render import CATEGORIES, DEFECTS, render, write_category

FALSE_ALARM_RATE = 0.01
SEED = 0
# Far beyond the test split: an example is neither trained on nor counted in a figure. Of the washer, 1000 on
# hold a stain that the model misses: a gallery to start from shows what it finds, the figures how often.
EXAMPLE_INDEX = {"fabric": 1000, "washer": 3000}


def embed(run: Path, name: str, settings: dict[str, Any]) -> None:
    """Store the weights of a run in fp16, with its config and example pictures."""
    folder = ASSETS / name
    shutil.rmtree(folder, ignore_errors=True)
    pipeline = DiffusionADPipeline.from_pretrained(run / "pipeline", dtype=torch.float16, **settings)
    pipeline.save_pretrained(str(folder))
    config = load_config(str(run / "config.toml"))
    # Where the data lay on the machine that trained is nobody's business.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=name))
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    (folder / "examples").mkdir()
    for i, defect in enumerate([None, *DEFECTS[name], None]):
        sample = render(name, "test", EXAMPLE_INDEX[name] + i, SEED, defect=defect)
        title = f"good_{1 if i == 0 else 2}" if defect is None else defect
        Image.fromarray(sample.image).save(folder / "examples" / f"{title}.png", optimize=True)


def measure(name: str, data: Path) -> dict[str, Any]:
    """Calibrate and measure an embedded model; writes its model_index.json, metrics.json, scores.csv."""
    folder = ASSETS / name
    pipeline = DiffusionADPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(desc=f"{name}: calibration", leave=False)
    normal = pipeline(find_images([data / "normal"]))
    peaks = [anomaly_map.max() for anomaly_map in normal.anomaly_map]
    calibration = calibrate(normal.score, FALSE_ALARM_RATE, peaks)
    # The day is kept where nothing else changed, so that measuring again changes no file.
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


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.demo.bundle", description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="folder of the rendered data set")
    for name in CATEGORIES:
        parser.add_argument(f"--{name}", type=Path, metavar="RUN", help=f"run to embed as {name}")
    parser.add_argument("--t-fine", type=int, help="default, as of the next two: as trained")
    parser.add_argument("--t-coarse", type=int)
    parser.add_argument("--guidance-weight", type=float)
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    args = parser.parse_args(arguments)
    for name in CATEGORIES:
        run = getattr(args, name)
        if run is not None:
            names = ("t_fine", "t_coarse", "guidance_weight")
            embed(run, name, {k: getattr(args, k) for k in names if getattr(args, k) is not None})
        if not (ASSETS / name / "model_index.json").is_file():
            continue
        data = write_category(args.data, name, SEED, workers=args.workers)
        metrics = measure(name, data)
        print(name, headline(metrics), sep="\n")


if __name__ == "__main__":
    main()
