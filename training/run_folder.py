"""What lies in a run folder: the split, checkpoints that are whole or absent, the pipeline.

<run>/{config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/, metrics.json, scores.csv,
samples/}
"""

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import ImageError, find_images, read_image

from .config.schema import TrainConfig, load_config, to_toml
from .data.checks import LEAST_GOOD

LEAST_PARTS = 4  # of which one validates and one calibrates


def split(
    paths: list[Path], config: TrainConfig, parts: dict[Path, str] | None = None
) -> dict[str, list[Path]]:
    """Three disjoint sets of normal pictures: training, validation (chooses the checkpoint), calibration.

    Copies of a file stay together, and pictures of the same part: the sets are disjoint by content, and the
    threshold comes from parts that were not trained on. Calibration gets its least number even where that is
    more than its fraction, but never more than a third.

    Args:
        paths: the pictures.
        config: of the run.
        parts: for pictures that are not the only ones of their part, its name; copies count as one part.

    Raises:
        ValueError: fewer than 8 different pictures or 4 parts, or one to calibrate with that is among them.
    """
    copies: dict[str, list[Path]] = {}
    for path in paths:
        copies.setdefault(_sha256(path), []).append(path)
    if len(copies) < LEAST_GOOD:
        raise ValueError(
            f"`data.path` has {len(copies)} different good pictures; {LEAST_GOOD} are the least to train, "
            "validate and calibrate."
        )
    of_part: dict[str, list[Path]] = {}
    for sha256, same in copies.items():
        of_part.setdefault((parts or {}).get(same[0], sha256), []).extend(same)
    groups, n = list(of_part.values()), len(of_part)
    if n < LEAST_PARTS:
        raise ValueError(
            f"The good pictures of `data.path` show {n} parts; {LEAST_PARTS} are the least to train, "
            "validate and calibrate with different ones."
        )
    shuffled = [groups[i] for i in np.random.default_rng([config.optim.seed, 0]).permutation(n)]
    n_validation = max(1, min(round(config.data.validation_fraction * n), n // 4))
    if config.data.calibration_folder:
        n_calibration = 0
        calibration = find_images([config.data.calibration_folder])
        shared = [str(path) for path in calibration if _sha256(path) in copies]
        if shared:
            listed = "\n  ".join(shared)
            raise ValueError(
                f"`data.calibration_folder` has {len(shared)} pictures that are also in `data.path`; a "
                f"threshold from pictures that were trained on promises nothing:\n  {listed}"
            )
    else:
        wanted = max(round(config.data.calibration_fraction * n), config.data.calibration_min)
        n_calibration = min(wanted, n // 3)
        calibration = list(itertools.chain(*shuffled[n - n_calibration :]))
    return {
        "train": sorted(itertools.chain(*shuffled[n_validation : n - n_calibration])),
        "validation": sorted(itertools.chain(*shuffled[:n_validation])),
        "calibration": sorted(calibration),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_pictures(paths: list[Path]) -> None:
    """Read every picture once; all that are broken are listed in one error."""
    broken = []
    for path in tqdm(paths, desc="checking pictures", unit="picture", leave=False, disable=None):
        try:
            read_image(path)
        except ImageError as error:
            broken.append(str(error))
    if broken:
        raise ValueError(f"{len(broken)} of {len(paths)} pictures cannot be used:\n  " + "\n  ".join(broken))


def check_writable(output: Path) -> None:
    """Make the run folder and try it: hours later is too late.

    Raises:
        ValueError: nothing can be written there.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output) as probe:
            probe.write(b"a run")
    except OSError as error:
        raise ValueError(
            f"`--output`: `{output}` cannot be written ({error.strerror}); choose another folder."
        ) from error


def prepare_folder(output: Path, config: TrainConfig, sets: dict[str, list[Path]]) -> None:
    """splits.json, with the hash of every picture, and config.toml."""
    (output / "splits.json").write_text(json.dumps(_listed(sets), indent=1) + "\n", encoding="utf-8")
    (output / "config.toml").write_text(to_toml(config), encoding="utf-8")


def check_same_pictures(output: Path, sets: dict[str, list[Path]]) -> None:
    """Other pictures would be another run under the same name.

    Raises:
        ValueError: pictures were added, removed or changed since the run began; the message names them.
    """
    before = json.loads((output / "splits.json").read_text(encoding="utf-8"))
    changes = []
    for name, entries in _listed(sets).items():
        old, new = ({e["file"]: e["sha256"] for e in listed} for listed in (before[name], entries))
        changes += [f"{name}: {file} is gone" for file in old if file not in new]
        changes += [f"{name}: {file} is new" for file in new if file not in old]
        changes += [f"{name}: {file} has changed" for file in new if old.get(file, new[file]) != new[file]]
    if changes:
        shown = "\n  ".join(changes[:10] + (["..."] if len(changes) > 10 else []))
        raise ValueError(
            f"`--resume`: the pictures are not those of `{output / 'splits.json'}`; put them back, or start "
            f"another run:\n  {shown}"
        )


def _listed(sets: dict[str, list[Path]]) -> dict[str, list[dict[str, str]]]:
    return {
        name: [{"file": str(p), "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in paths]
        for name, paths in sets.items()
    }


def save_checkpoint(output: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write checkpoint-N under another name first: whatever happens, a folder of that name is complete."""
    partial, final = output / f"checkpoint-{step}.partial", output / f"checkpoint-{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with (partial / "state.pt").open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in checkpoints(output)[:-keep]:
        shutil.rmtree(old)


def load_checkpoint(output: Path) -> dict[str, Any]:
    """The last complete state of a run, in main memory: what loads a part of it moves that to its device."""
    return torch.load(checkpoints(output)[-1] / "state.pt", map_location="cpu", weights_only=True)


def drop_checkpoints_after(output: Path, step: int) -> None:
    """Of a run that diverged: what was saved after its last good step."""
    for path in checkpoints(output):
        if int(path.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(path)


def checkpoints(output: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    complete = [p for p in output.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(complete, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def save_pipeline(pipeline: DiffusionADPipeline, folder: Path) -> None:
    """Save under another name first, so that `folder` is never half a pipeline."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def is_finished(output: Path) -> bool:
    """Whether nothing is left to do in a run: the figures are written last."""
    return (output / "metrics.json").is_file()


def check_unused(output: Path) -> None:
    """A run is never written over.

    Raises:
        ValueError: there is one.
    """
    if (output / "config.toml").exists():
        raise ValueError(
            f"`--output`: `{output}` holds a run already; add --resume, or choose another folder."
        )


# Values in `optim` that a run replaces by what they come to on its machine.
UNRESOLVED = {"max_steps": 0, "unet_steps": 0, "precision": "auto"}


def resumable_config(output: Path, wanted: TrainConfig) -> TrainConfig:
    """The config of the run in `output`, if it is the wanted one and there is something to resume.

    Raises:
        ValueError: nothing to resume, or other settings.
    """
    if not checkpoints(output):
        raise ValueError(f"`--resume`: `{output}` has no checkpoint; start without --resume.")
    return same_config(output, wanted)


def same_config(output: Path, wanted: TrainConfig) -> TrainConfig:
    """The config of the run in `output`, its steps and precision resolved; it must be the wanted one.

    Raises:
        ValueError: other settings; the message shows the differences.
    """
    stored = load_config(str(output / "config.toml"))
    differences = []
    for section, values in dataclasses.asdict(wanted).items():
        for key, value in values.items():
            old = getattr(getattr(stored, section), key)
            resolved_there = section == "optim" and key in UNRESOLVED and UNRESOLVED[key] == value
            if value != old and not resolved_there:
                differences.append(f"{section}.{key} was {old!r}, now {value!r}")
    if differences:
        raise ValueError(
            f"`--resume`: other settings than `{output / 'config.toml'}`: {'; '.join(differences)}. "
            "Take the settings of the run, or start another one."
        )
    return stored
