"""A new threshold for a saved model, from pictures of good parts that it has never learned from."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionad.files import file_sha256, replacing
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.contrast import calibrate_and_spread, spread
from diffusionad.streaming import explain, is_lost_device, read_or_explain

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

# Lists in `splits.json`, beside a run's pipeline, of pictures that trained it or chose its checkpoint.
USED_UP = ("train", "validation")


@dataclass(frozen=True)
class Recalibration:
    """A calibration, and the pictures that a person should look at before trusting it.

    Attributes:
        calibration: of all pictures that could be inspected.
        contrast: setting that spreads their scores, which the calibration holds for.
        deciding: the pictures that set the threshold, with their scores, the highest first.
    """

    calibration: Calibration
    contrast: float
    deciding: list[tuple[Path, float]]


def recalibrate(
    pipeline: "DiffusionADPipeline",
    source: Path,
    output: Path,
    files: Sequence[Path],
    rate: float | None = None,
    show_progress: bool = False,
    left_out: int = 0,
) -> Recalibration:
    """Calibrate a saved model on pictures of good parts, and store it.

    Args:
        pipeline: loaded from `source`, with the settings to calibrate for.
        source: folder of the model.
        output: folder for the calibrated model; may be `source`.
        files: the pictures; those that cannot be inspected are reported on stderr and left out.
        rate: false-alarm rate to promise; None is the larger of 1 % and 1/(n+1).
        show_progress: show a bar at a terminal.
        left_out: number of further pictures that a person left out as not good, for the record.

    Raises:
        ValueError: the model knows some of the pictures, or they are too few for the rate.
    """
    from tqdm import tqdm

    check_held_out(source, files)
    # The bar is for a person at a terminal, not for a log file.
    hidden = None if show_progress else True
    with tqdm(total=len(files), unit="picture", disable=hidden, leave=False) as bar:

        def report(file: Path, error: str | None) -> None:
            bar.update()
            if error is not None:
                tqdm.write(f"{file}: left out, it cannot be inspected: {error}", file=sys.stderr)

        made = calibrate_with(pipeline, files, rate, report, left_out)
    pipeline.configure(calibration=made.calibration, contrast=made.contrast)
    store(pipeline, source, output)
    return made


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
    hashes = {file: _sha256_of_picture(file) for file in files}
    known = [file for file in files if hashes[file] in used]
    if known:
        raise ValueError(
            f"{len(known)} of {len(files)} pictures are in the {used[hashes[known[0]]]} set of `{splits}`, "
            f"such as `{known[0]}`; the model knows them and scores them too low. Give others."
        )


def _sha256_of_picture(file: Path) -> str:
    """Return a file's SHA-256; empty where it cannot be read, or never ends, as a pipe."""
    try:
        return file_sha256(file) if file.is_file() else ""
    except OSError:
        return ""  # reading it as a picture reports it


def calibrate_with(
    pipeline: "DiffusionADPipeline",
    files: Sequence[Path],
    rate: float | None,
    report: Callable[[Path, str | None], None],
    left_out: int = 0,
) -> Recalibration:
    """Score pictures of good parts one by one, and calibrate on them.

    Args:
        pipeline: with the settings to calibrate for.
        files: the pictures; those that cannot be inspected are reported and left out.
        rate: false-alarm rate to promise; None is the larger of 1 % and 1/(n+1).
        report: called after each file, with the reason when it could not be inspected.
        left_out: number of further pictures that a person left out as not good, for the record.

    Raises:
        ValueError: no picture could be inspected, or too few for the rate.
    """
    if pipeline.config.contrast != 1:  # another one is chosen
        pipeline.configure(contrast=1.0, calibration=None)
    scored: list[Path] = []
    scores, peaks, appearances = [], [], []
    for file in files:
        picture = read_or_explain(file, pipeline.config.bit_depth)
        if isinstance(picture, str):
            report(file, picture)
            continue
        try:
            output = pipeline(picture)
        except (ValueError, RuntimeError, MemoryError) as error:
            if is_lost_device(error):
                raise
            report(file, explain(error, file))
            continue
        scored.append(file)
        scores.append(float(output.score[0]))
        peaks.append(output.anomaly_map[0].max())
        appearances.append(output.appearance[0])
        report(file, None)
    calibration, contrast = calibrate_and_spread(scores, rate, peaks, appearances, left_out)
    spread_out = [float(spread(score, contrast)) for score in scores]
    deciding = [(scored[i], spread_out[i]) for i in calibration.deciding(spread_out)]
    return Recalibration(calibration, contrast, deciding)


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
    with replacing(output / pipeline.config_name) as partial:
        pipeline.to_json_file(partial)
