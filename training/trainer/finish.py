"""After the last step: calibrate the chosen weights, test them once, write figures and samples."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from diffusionad import DiffusionADPipeline, learn_features
from diffusionad.postprocessing.contrast import calibrate_and_spread

from ..certificate.certificate import FEWEST_PICTURES, certify
from ..data.catalog import Catalog
from ..evaluation.evaluator import evaluate, headline, write_results
from ..evaluation.figures import write_samples
from ..evaluation.provenance import provenance
from ..run_folder import save_pipeline
from .loop import TrainingLoop

CALIBRATION_BATCH = 8  # pictures a call; all large ones at once would not fit into memory


def finish(loop: TrainingLoop) -> None:
    """Calibrate on pictures that chose nothing, then test once.

    Args:
        loop: a run that has taken all its steps.
    """
    setup, output = loop.setup, loop.output
    pipeline = DiffusionADPipeline.from_pretrained(output / "pipeline").to(setup.accelerator.device)
    pipeline.set_progress_bar_config(disable=True)
    if loop.config.model.pretrained_features != "none":
        # Validation pictures were not trained on, and calibration needs its own.
        sets, seed = setup.sets, loop.config.optim.seed
        learn_features(pipeline, sets["train"], sets["validation"], seed=seed)
    calibrate_pipeline(pipeline, setup.sets["calibration"])
    save_pipeline(pipeline, output / "pipeline")
    metrics, rows = measure(pipeline, setup.catalog)
    metrics |= (
        loop.further_figures(pipeline, metrics) | facts_of(loop) | provenance(pipeline, output / "pipeline")
    )
    metrics |= certificate_of(loop, pipeline)
    write_samples(pipeline, setup.catalog.test, output / "samples", loop.config.log.samples)
    write_results(output, metrics, rows)  # last: a run with figures is finished
    print(headline(metrics))
    print(f"Done. Use it: DiffusionADPipeline.from_pretrained({str(output / 'pipeline')!r})")


def calibrate_pipeline(pipeline: DiffusionADPipeline, pictures: list[Path]) -> None:
    """Set the thresholds and the contrast from normal pictures."""
    pipeline.configure(contrast=1.0, calibration=None)
    scores: list[float] = []
    peaks: list[float] = []
    appearances: list[np.ndarray] = []
    for i in range(0, len(pictures), CALIBRATION_BATCH):
        normal = pipeline(pictures[i : i + CALIBRATION_BATCH])
        scores += normal.score.tolist()
        peaks += [anomaly_map.max() for anomaly_map in normal.anomaly_map]
        appearances += list(normal.appearance)
    calibration, contrast = calibrate_and_spread(scores, None, peaks, appearances)
    pipeline.configure(calibration=calibration, contrast=contrast)


def certificate_of(loop: TrainingLoop, pipeline: DiffusionADPipeline) -> dict[str, Any]:
    """Measure what the model misses, on the calibration pictures; empty where that is off or impossible."""
    pictures, minutes = loop.setup.sets["calibration"], loop.config.log.certificate_minutes
    if not minutes or len(pictures) < FEWEST_PICTURES:
        return {}
    folder = loop.output / "certificate"
    shutil.rmtree(folder, ignore_errors=True)  # of the same run, before it was trained on
    try:
        found = certify(pipeline, pictures, folder, max_minutes=minutes, seed=loop.config.optim.seed)
    except ValueError as error:  # hours of training must not end without figures
        print(f"No certificate: {error}.")
        return {}
    print("\n".join(found["sentences"]))
    return {"certificate": found}


def measure(pipeline: DiffusionADPipeline, catalog: Catalog) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure on the test split; of several categories in one model, on each of them as well.

    Returns:
        The figures, and a row a picture.
    """
    metrics, rows = evaluate(pipeline, catalog.test)
    names = sorted({record.category for record in catalog.test})
    if len(names) > 1:
        of_each = {name: [r for r in catalog.test if r.category == name] for name in names}
        metrics["per_category"] = {name: evaluate(pipeline, of_each[name], name)[0] for name in names}
    return metrics, rows


def facts_of(loop: TrainingLoop) -> dict[str, Any]:
    """Return what metrics.json says of the training."""
    steps, seconds = loop.state.step, loop.state.seconds
    return {
        "steps": steps,
        "train_minutes": seconds / 60,
        "train_images_per_second": steps * loop.config.optim.batch_size / max(seconds, 1e-9),
        "processes": loop.accelerator.num_processes,
        "train_config": dataclasses.asdict(loop.config),
    }
