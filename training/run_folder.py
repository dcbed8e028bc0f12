"""Files of a run folder: settings, the split, checkpoints that are whole or absent, the pipeline.

<run>/{config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/, metrics.json, scores.csv,
samples/}
"""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from diffusionad import DiffusionADPipeline
from diffusionad.files import file_sha256, replacing

from .config.loader import load_config, write_config
from .config.schema import TrainConfig

# Values in `optim` that a run replaces by what they come to on its machine.
UNRESOLVED = {"max_steps": 0, "unet_steps": 0, "precision": "auto"}


def check_writable(output: Path) -> None:
    """Make the run folder and write to it: hours later is too late.

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
    """Write splits.json, with the hash of every picture, and config.toml."""
    (output / "splits.json").write_text(json.dumps(_listed(sets), indent=1) + "\n", encoding="utf-8")
    write_config(config, output / "config.toml")


def check_same_pictures(output: Path, sets: dict[str, list[Path]]) -> None:
    """Compare the pictures with those that the run began with.

    Raises:
        ValueError: pictures were added, removed or changed since; the message names them.
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
    return {name: [{"file": str(p), "sha256": file_sha256(p)} for p in paths] for name, paths in sets.items()}


def save_checkpoint(output: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write checkpoint-N, whole or not at all, and remove all but the last `keep` checkpoints."""
    folder = output / f"checkpoint-{step}"
    with replacing(folder) as partial:
        partial.mkdir(parents=True)
        with (partial / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
    for old in checkpoints(output)[:-keep]:
        shutil.rmtree(old)


def load_checkpoint(output: Path) -> dict[str, Any]:
    """Load the last complete state of a run into main memory; its parts move to their devices themselves."""
    return torch.load(checkpoints(output)[-1] / "state.pt", map_location="cpu", weights_only=True)


def drop_checkpoints_after(output: Path, step: int) -> None:
    """Remove what a run that diverged saved after its last good step."""
    for path in checkpoints(output):
        if _step_of(path) > step:
            shutil.rmtree(path)


def checkpoints(output: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    complete = [p for p in output.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(complete, key=_step_of)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def save_pipeline(pipeline: DiffusionADPipeline, folder: Path) -> None:
    """Save a pipeline in place of an earlier one; `folder` is never half a pipeline."""
    with replacing(folder) as partial:
        pipeline.save_pretrained(str(partial))
        shutil.rmtree(folder, ignore_errors=True)


def is_finished(output: Path) -> bool:
    """Whether nothing is left to do in a run: the figures are written last."""
    return (output / "metrics.json").is_file()


def check_unused(output: Path) -> None:
    """Refuse to write over a run.

    Raises:
        ValueError: `output` holds one.
    """
    if (output / "config.toml").exists():
        raise ValueError(
            f"`--output`: `{output}` holds a run already; add --resume, or choose another folder."
        )


def resumable_config(output: Path, wanted: TrainConfig) -> TrainConfig:
    """Return the config of the run in `output`, which must be the wanted one and have a checkpoint.

    Raises:
        ValueError: nothing to resume, or other settings.
    """
    if not checkpoints(output):
        raise ValueError(f"`--resume`: `{output}` has no checkpoint; start without --resume.")
    return same_config(output, wanted)


def same_config(output: Path, wanted: TrainConfig) -> TrainConfig:
    """Return the config of the run in `output`, with its resolved steps and precision.

    Raises:
        ValueError: other settings than the wanted ones; the message shows the differences.
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


def what_is_left(output: Path) -> str:
    """Say what a run that stopped by itself has kept, and what to change."""
    kept = checkpoints(output)
    last = kept[-1].name if kept else "none, all were saved too late"
    weights = ", its best weights so far `pipeline/`" if (output / "pipeline").is_dir() else ""
    return (
        f"The last good state in `{output}` is {last}{weights}. Start another run with lower optim.unet_lr "
        "and optim.segmenter_lr, a lower optim.gradient_norm_max, or optim.precision=no"
    )
