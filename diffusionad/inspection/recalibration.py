"""A new threshold for a saved model, from pictures of good parts that it has never learned from."""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionad.cli.commands import UsageError, load_pipeline, model_source, one_line
from diffusionad.images.image_io import find_images
from diffusionad.inspection.inspector import read_or_explain
from diffusionad.inspection.results import percent, score_text
from diffusionad.postprocessing.calibration import Calibration, calibrate, promised_rate

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

# What a training run has learned from or chosen its checkpoint by; see `splits.json` beside its pipeline.
USED_UP = ("train", "validation")


def recalibrate(args: argparse.Namespace) -> int:
    """The command `diffusionad calibrate`."""
    from tqdm import tqdm

    try:
        files = find_images(args.paths)
        promised_rate(len(files), args.rate)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error
    if args.output is None and not (Path(args.model).is_dir()):
        raise UsageError(f"--output is missing: `{args.model}` is no folder of yours to write into.")
    pipeline = load_pipeline(args)
    from diffusionad.loading.pretrained import find_folder  # after torch was needed anyway

    folder = find_folder(model_source(args), None, None, None, None, True)
    try:
        check_held_out(folder, files)
        with tqdm(total=len(files), unit="picture", disable=True if args.quiet else None, leave=False) as bar:

            def report(file: Path, error: str | None) -> None:
                bar.update()
                if error is not None:
                    tqdm.write(f"{file}: left out, it cannot be read: {error}", file=sys.stderr)

            calibration = calibrate_with(pipeline, files, args.rate, report)
        pipeline.configure(calibration=calibration)
        store(pipeline, folder, args.output or folder)
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(one_line(error)) from error
    if not args.quiet:
        print(_calibration_text(calibration, args.output or folder))
    return 0


def _calibration_text(calibration: Calibration, output: Path) -> str:
    smallest = 1 / (calibration.n + 1)
    text = f"Threshold {score_text(calibration.threshold, 4)}, "
    text += f"pixel threshold {score_text(calibration.pixel_threshold, 4)}: "
    text += f"false-alarm rate {percent(calibration.rate)}, n = {calibration.n} "
    text += f"(these pictures support {percent(smallest)} at best).\n"
    return (
        f"{text}Of good parts like these, at most {percent(calibration.rate)} will score above. In {output}"
    )


def check_held_out(folder: Path, files: Sequence[Path]) -> None:
    """Refuse pictures that the model was trained on or chosen by, where its run has listed them.

    Args:
        folder: of the model; `splits.json` lies beside it when it is part of a training run.
        files: pictures to calibrate with.

    Raises:
        ValueError: how many of them, the first by name, and why that matters.
    """
    splits = folder.parent / "splits.json"
    if not splits.is_file():
        return
    listed = json.loads(splits.read_text(encoding="utf-8"))
    used = {entry["sha256"]: name for name in USED_UP for entry in listed.get(name, [])}
    hashes = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    known = [file for file in files if hashes[file] in used]
    if known:
        raise ValueError(
            f"{len(known)} of {len(files)} pictures are in the {used[hashes[known[0]]]} set of `{splits}`, "
            f"such as `{known[0]}`; the model knows them and scores them too low. Calibrate with others."
        )


def calibrate_with(
    pipeline: "DiffusionADPipeline",
    files: Sequence[Path],
    rate: float | None,
    report: Callable[[Path, str | None], None],
) -> Calibration:
    """Score pictures of good parts one by one, and calibrate on them.

    Args:
        pipeline: with the settings to calibrate for.
        files: the pictures; what cannot be read is reported and left out.
        rate: false-alarm rate to promise; None is the larger of 1 % and 1/(n+1).
        report: called after each file, with the reason when it could not be read.

    Raises:
        ValueError: no picture could be read, or too few for the rate.
    """
    scores, peaks = [], []
    for file in files:
        picture = read_or_explain(file)
        if isinstance(picture, str):
            report(file, picture)
            continue
        output = pipeline(picture)
        scores.append(output.score[0])
        peaks.append(output.anomaly_map[0].max())
        report(file, None)
    return calibrate(scores, rate, peaks)


def store(pipeline: "DiffusionADPipeline", source: Path, output: Path) -> None:
    """Write the pipeline's settings, its calibration among them, into `output`.

    The weights are copied as they are stored; nothing but `model_index.json` changes.

    Args:
        pipeline: loaded from `source`.
        source: folder of the model.
        output: another folder, made when it does not exist, or `source` itself.
    """
    if output.resolve() != source.resolve():
        shutil.copytree(source, output, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        pipeline.save_config(scratch)
        os.replace(Path(scratch, pipeline.config_name), output / pipeline.config_name)
