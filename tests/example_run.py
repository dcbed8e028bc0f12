"""A finished run for tests of publishing: a saved pipeline, with figures that nobody measured."""

import json
import shutil
from pathlib import Path

from diffusionad.loading.fingerprint import pipeline_sha256

CONFIG = """\
[data]
path = "/secret/place/noise"
category = ""
image_size = 64

[model]
patch_size = 2
unet_channels = [16, 32]
segmenter_channels = [16, 32, 48]

[optim]
seed = 0
batch_size = 4
max_steps = 1600
"""


def _figure(value: float) -> dict:
    return {"value": value, "interval": [value - 0.04, value + 0.02]}


FIGURES = {
    "category": "noise",
    "image_auroc": _figure(0.91),
    "image_ap": _figure(0.92),
    "image_f1_max": _figure(0.88),
    "pixel_auroc": _figure(0.97),
    "aupro": _figure(0.89),
    "absent": {"pixel_ap": "no masks", "pixel_f1_max": "no masks"},
    "per_defect": {
        "broken_thread": {
            "n": 12,
            "image_auroc": _figure(0.93),
            "detection_rate": 0.75,
            "defect_residue": 0.62,
        },
        "hole": {"n": 8, "detection_rate": 1.0},
    },
    "reconstruction": {"psnr_normal_db": 26.62, "defect_residue": 0.487},
    "threshold": 0.6,
    "false_alarm_rate": 0.025,
    "detection_rate": 0.85,
    "calibration": {"n": 40, "rate": 0.05},
    "n_test": 60,
    "n_good": 40,
    "n_defective": 20,
    "images_per_second": 12.5,
    "data_sha256": "d" * 64,
    "command": "python -m training.train --data /secret/place/noise --preset tiny",
    "seed": 0,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "machine": "an abacus, 2 CPUs, 1 thread",
    "seconds": 4.8,
    "train_minutes": 31.4,
    "train_config": {"data": {"path": "/secret/place/noise"}},
}


def write_run(folder: Path, pipeline: Path) -> None:
    """A run folder with a copy of the saved `pipeline`."""
    shutil.copytree(pipeline, folder / "pipeline")
    (folder / "config.toml").write_text(CONFIG)
    metrics = {**FIGURES, "pipeline_sha256": pipeline_sha256(folder / "pipeline")}
    (folder / "metrics.json").write_text(json.dumps(metrics))
