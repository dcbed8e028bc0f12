"""Files of a run folder: settings, the split, checkpoints that are whole or absent, the pipeline.

<run>/{config.toml, splits.json, log.jsonl, curves.png, checkpoint-N/, pipeline/, metrics.json, scores.csv,
samples/}
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from diffusionad import DiffusionADPipeline
from diffusionad.files import file_sha256, replacing

from .config.loader import load_config, write_config
from .config.schema import TrainConfig, with_optim
from .run_guard import adopt, swapping

# Values in `optim` that a run replaces by what they come to on its machine.
LENGTHS = ("max_steps", "max_epochs", "max_minutes")
UNRESOLVED = {"max_steps": 0, "unet_steps": 0, "precision": "auto"}

# Folders whose pictures `splits.json` lists by content: they may have moved since.
LISTED_FOLDERS = ("path", "calibration_folder")
OTHER_PATHS = ("foreground", "texture_folder")


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
    with replacing(output / "splits.json") as partial:
        partial.write_text(json.dumps(_listed(sets), indent=1) + "\n", encoding="utf-8")
    write_config(config, output / "config.toml")


def clear_leftovers(output: Path, resume: bool) -> None:
    """Remove what a killed process left half-written; where the run goes on, adopt its published pipeline."""
    if resume:
        adopt(output / "pipeline")
    for pattern in (".checkpoint-*.partial", ".pipeline.*", ".sanity-check-*"):
        for path in output.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def sets_of_run(output: Path, sets: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the sets that the run began with, in its order, wherever its pictures lie by now.

    Args:
        output: run folder.
        sets: the pictures as they are found now; names and folders may differ, contents may not.

    Raises:
        ValueError: pictures were added, removed or changed since; the message names them.
    """
    before = json.loads((output / "splits.json").read_text(encoding="utf-8"))
    now = _listed(sets)
    hashes, hashes_now = (
        Counter(entry["sha256"] for entries in listed.values() for entry in entries)
        for listed in (before, now)
    )
    if hashes == hashes_now:
        places: dict[str, list[Path]] = {}
        for entry in (entry for entries in now.values() for entry in entries):
            places.setdefault(entry["sha256"], []).append(Path(entry["file"]))
        return {name: [places[entry["sha256"]].pop(0) for entry in before[name]] for name in sets}
    changes = []
    old, new = _by_place(before), _by_place(now)
    changes += [f"{file} is gone" for file in old if file not in new]
    changes += [f"{file} is new" for file in new if file not in old]
    changes += [f"{file} has changed" for file in new if old.get(file, new[file]) != new[file]]
    shown = "\n  ".join(changes[:10] + (["..."] if len(changes) > 10 else []))
    raise ValueError(
        f"`--resume`: the pictures are not those of `{output / 'splits.json'}`; put them back, or start "
        f"another run:\n  {shown}"
    )


def _by_place(listed: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    """Return hashes by file, named from the deepest folder that holds them all."""
    entries = [entry for entries in listed.values() for entry in entries]
    root = os.path.commonpath([os.path.abspath(entry["file"]) for entry in entries])
    return {os.path.relpath(os.path.abspath(entry["file"]), root): entry["sha256"] for entry in entries}


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
    with swapping(folder) as partial:
        pipeline.save_pretrained(str(partial))


def is_finished(output: Path) -> bool:
    """Whether nothing is left to do in a run: the figures are written last."""
    return (output / "metrics.json").is_file()


def check_unused(output: Path) -> None:
    """Refuse to write over a run; one that was killed before its first checkpoint holds nothing to keep.

    Raises:
        ValueError: `output` holds one.
    """
    if checkpoints(output) or is_finished(output) or (output / "pipeline").exists():
        raise ValueError(
            f"`--output`: `{output}` holds a run already; add --resume, or choose another folder."
        )


def prolong(output: Path, wanted: TrainConfig, minutes: float) -> TrainConfig:
    """Move the end of the run in `output` further minutes ahead; return its config.

    The learning rate rises to where the longer schedule has it, and falls again. Of two phases the second one
    goes on; the UNet stays as it is, unless its phase is not over.

    Raises:
        ValueError: there is no checkpoint, or other settings than the wanted ones.
    """
    if not checkpoints(output):
        raise ValueError(f"`--more-minutes`: `{output}` has no checkpoint to go on from; leave it out.")
    lengths = {name: getattr(load_config(str(output / "config.toml")).optim, name) for name in LENGTHS}
    config = same_config(output, with_optim(wanted, **lengths))
    state, optim = load_checkpoint(output), config.optim
    step, spent = int(state["step"]), float(state["seconds"]) / 60
    steps = 0  # not known: the run had not come to its end
    if step == optim.max_steps:
        start = optim.unet_steps if optim.unet_share > 0 else 0
        share = 1 - optim.unet_share if optim.unet_share > 0 else 1.0
        steps = step + max(1, round((step - start) * minutes / max(share * spent, 1e-9)))
    config = with_optim(config, max_minutes=spent + minutes, max_steps=steps, max_epochs=0)
    write_config(config, output / "config.toml")
    return config


def same_config(output: Path, wanted: TrainConfig) -> TrainConfig:
    """Return the config of the run in `output`, with its resolved steps, precision and bit depth.

    Folders of pictures, and of a teacher, are those of `wanted`: what is in them is compared.

    Raises:
        ValueError: other settings than the wanted ones; the message shows the differences.
    """
    stored = load_config(str(output / "config.toml"))
    differences = []
    for section, values in dataclasses.asdict(wanted).items():
        for key, value in values.items():
            old = getattr(getattr(stored, section), key)
            resolved_there = section == "optim" and key in UNRESOLVED and UNRESOLVED[key] == value
            resolved_there |= (section, key, value) == ("data", "bit_depth", 0)  # found in the pictures
            may_move = section == "data" and key in LISTED_FOLDERS and bool(value) == bool(old)
            may_move |= (section, key) == ("distillation", "teacher")  # its hash is compared
            same_place = key in OTHER_PATHS and os.path.realpath(value) == os.path.realpath(old)
            if value != old and not (resolved_there or may_move or same_place):
                differences.append(f"{section}.{key} was {old!r}, now {value!r}")
    if differences:
        raise ValueError(
            f"`--resume`: other settings than `{output / 'config.toml'}`: {'; '.join(differences)}. "
            "Take the settings of the run, or start another one."
        )
    found = {name: getattr(wanted.data, name) for name in LISTED_FOLDERS}
    distillation = dataclasses.replace(stored.distillation, teacher=wanted.distillation.teacher)
    return dataclasses.replace(
        stored, data=dataclasses.replace(stored.data, **found), distillation=distillation
    )


def what_is_left(output: Path) -> str:
    """Say what a run that stopped by itself has kept, and what to change."""
    kept = checkpoints(output)
    last = kept[-1].name if kept else "none, all were saved too late"
    weights = ", its best weights so far `pipeline/`" if (output / "pipeline").is_dir() else ""
    return (
        f"The last good state in `{output}` is {last}{weights}. Start another run with lower optim.unet_lr "
        "and optim.segmenter_lr, a lower optim.gradient_norm_max, or optim.precision=no"
    )


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the rows of log.jsonl; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
