"""Settings of a student: those of its teacher's run, smaller networks, and one noise scale."""

import dataclasses
from pathlib import Path
from typing import Any

from diffusionad.loading.fingerprint import pipeline_sha256
from diffusionad.loading.model_files import read_json

from ..config.loader import from_dict, load_config, with_overrides
from ..config.options import Settings
from ..config.schema import TrainConfig
from ..run_folder import is_finished

MINUTES = 30.0
SIDE_MAX = 256  # pixels; larger pictures are seen in tiles of this size
BLOCK = 32  # pixels; the default student's networks halve pictures down to blocks of this side

# Every value may be set by `--set`; it is for two CPU cores.
STUDENT: dict[str, dict[str, Any]] = {
    "model": {
        "patch_size": 8,  # a quarter of the work of 4
        "unet_channels": [64, 96, 128],  # with the segmenter 3.2 GFLOP for 256 x 256 pixels
        "unet_layers": 1,
        "unet_attention_sizes": [8],
        "prediction_type": "sample",  # the teacher's reconstruction is a picture
        "segmenter_stem_patch": 4,
        "segmenter_with_difference": True,
        "segmenter_norm": "batch",  # costs nothing once exported: it folds into the convolutions
    },
    "optim": {
        "batch_size": 4,
        "segmenter_batch_size": 4,
        "segmenter_crop": 0,  # the noise belongs to the position in the square
        "buffer_size": 128,  # each sample is learnt from four times: the teacher costs as much as a step
        "buffer_steps": 1,
        "unet_lr": 1e-3,
        "segmenter_lr": 2e-3,
        "warmup_steps": 100,
        "final_lr_fraction": 0.02,
        "segmenter_cosine_steps": 0,
        "ema_decay": 0.995,
        "precision": "auto",
        "detach_reconstruction": True,  # the reconstruction stays the teacher's
        "repair": False,  # the teacher says what a repair looks like
        "unet_share": 0.0,
        "unet_steps": 0,
        "max_epochs": 0,
        "max_steps": 0,
        "max_minutes": MINUTES,
        "compile": False,
    },
}


def teacher_folders(model: Path) -> tuple[Path, Path]:
    """Return the pipeline and the config.toml of a finished run, or of an embedded model.

    Raises:
        ValueError: there is no model, or nothing says how it was trained.
    """
    pipeline = model / "pipeline" if (model / "pipeline").is_dir() else model
    if not (pipeline / "model_index.json").is_file():
        raise ValueError(f"`{model}` holds no model; name a finished run, or the folder of a pipeline.")
    for config in (pipeline / "config.toml", pipeline.parent / "config.toml"):
        if config.is_file():
            break
    else:
        raise ValueError(f"`{model}` has no config.toml, which says how it was trained; name a finished run.")
    if config.parent != pipeline and not is_finished(config.parent):
        raise ValueError(f"the run `{config.parent}` is not finished; `--resume` it first.")
    return pipeline, config


def student_config(model: Path, data: str | None, settings: Settings) -> TrainConfig:
    """Return the settings of a student.

    Args:
        model: run folder of the teacher, or the folder of its pipeline.
        data: its pictures; None where the run says where they are.
        settings: what the command line changes.

    Raises:
        ValueError: no finished teacher, or settings that cannot be.
    """
    pipeline, config_file = teacher_folders(model)
    base, saved = load_config(str(config_file)), read_json(pipeline / "model_index.json", pipeline)
    values = dataclasses.asdict(base)
    for section, student in STUDENT.items():
        values[section] |= student
    side = saved["image_size"]
    if saved.get("resize_mode") == "tile":  # models of the first weeks do not say it: they stretch
        # One pass over all of a square picture in place of overlapping tiles.
        side = min(saved.get("shorter_side") or SIDE_MAX, SIDE_MAX) // BLOCK * BLOCK
    t_fine = saved["t_fine"]
    values["data"] |= {"image_size": side, "path": data or base.data.path}
    values["diffusion"] |= {"t_fine": t_fine, "train_t_fine": [t_fine, t_fine + 1], "num_noise_samples": 1}
    values["distillation"] |= {"teacher": str(pipeline), "teacher_sha256": pipeline_sha256(pipeline)}
    return settings.config(values["data"]["path"], from_dict(with_overrides(values, list(settings.set))))
