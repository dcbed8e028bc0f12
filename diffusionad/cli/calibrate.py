"""`diffusionad calibrate`: the threshold of a saved model, from pictures of good parts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffusionad.cli.model import (
    gathering_settings,
    load_pipeline,
    model_source,
    running_options,
    score_settings,
)
from diffusionad.cli.options import CannotRun, data_option, model_option, one_line, output_option

if TYPE_CHECKING:
    from diffusionad.inspection.recalibration import Recalibration

MAX_DECIDING = 10  # pictures that are listed

EPILOG = """\
\b
Examples:
  diffusionad calibrate good/ --model models/washer
  diffusionad calibrate good/ --model org/name --output models/washer --rate 0.002
  diffusionad calibrate good/ --model models/washer --leave-out good/017.png

Stored with the model: threshold, pixel threshold, rate, n, the day, and the scores behind the p-values.
Settings given here are stored, too: the threshold holds for them alone.
"""


@click.command("calibrate", epilog=EPILOG, context_settings={"max_content_width": 110})
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@data_option("Files, folders (with all below), globs; the same as PATH.", required=False, multiple=True)
@model_option()
@output_option("Folder for the calibrated model (the model's own folder).", required=False)
@click.option(
    "--rate",
    type=float,
    metavar="X",
    help="False-alarm rate to promise, such as 0.01 (the larger of 0.01 and 1/(n+1), for n pictures).",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="FILE",
    help="One of the pictures that is not good after all; may repeat. How many is stored.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@running_options
@score_settings
@gathering_settings
def calibrate_command(
    paths: tuple[str, ...],
    data: tuple[str, ...],
    model: str,
    output: Path | None,
    rate: float | None,
    leave_out: tuple[str, ...],
    quiet: bool,
    device: str,
    dtype: str,
    settings: dict[str, Any],
) -> int:
    """Set the threshold of a model for a false-alarm rate.

    Give pictures of good parts that the model was neither trained on nor chosen by. The promise: at most this
    fraction of good parts scores above the threshold. Settings that are not given are taken from the model.
    """
    files = _check((*paths, *data), model, output, rate, leave_out)
    pipeline = load_pipeline(model, device, dtype, settings, keep_calibration=False)
    from diffusionad.inspection.recalibration import recalibrate

    folder = _folder_of(model)
    try:
        made = recalibrate(pipeline, folder, output or folder, files, rate, not quiet, len(set(leave_out)))
    except (ValueError, RuntimeError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    if not quiet:
        print(_calibration_text(made, output or folder))
    return 0


def _folder_of(model: str) -> Path:
    """Return the folder of a loaded model; that of an export is found without torch."""
    if Path(model).is_dir():
        return Path(model)
    from diffusionad.loading.pretrained import find_folder

    return find_folder(model_source(model), None, None, None, None, True)


def _check(
    data: tuple[str, ...], model: str, output: Path | None, rate: float | None, leave_out: tuple[str, ...]
) -> list[Path]:
    """Return the pictures to calibrate with."""
    from diffusionad.images.image_io import find_images
    from diffusionad.postprocessing.calibration import promised_rate

    if not data:
        raise CannotRun("no pictures given; name files, folders or globs.")
    try:
        files = _without(find_images(data), leave_out)
        promised_rate(len(files), rate)
    except (ValueError, OSError) as error:
        raise CannotRun(one_line(error)) from error
    if output is None and not Path(model).is_dir():
        raise CannotRun(f"--output is missing: `{model}` is no folder of yours to write into.")
    return files


def _without(files: list[Path], leave_out: tuple[str, ...]) -> list[Path]:
    """Return the pictures but for those that are to be left out, which must be among them."""
    places = {os.path.abspath(file): file for file in files}
    for name in leave_out:
        if os.path.abspath(name) not in places:
            raise CannotRun(f"--leave-out: `{name}` is none of the {len(files)} pictures; name one of them.")
    left_out = {os.path.abspath(name) for name in leave_out}
    return [file for place, file in places.items() if place not in left_out]


def _calibration_text(made: "Recalibration", output: Path) -> str:
    from diffusionad.postprocessing.verdict import percent, score_text

    calibration = made.calibration
    smallest = 1 / (calibration.n + 1)
    pixel_threshold = calibration.pixel_threshold_at(calibration.threshold)
    text = f"Threshold {score_text(calibration.threshold, 4)}, "
    text += f"pixel threshold {score_text(pixel_threshold, 4)}: "
    text += f"false-alarm rate {percent(calibration.rate)}, n = {calibration.n} "
    text += f"(these pictures support {percent(smallest)} at best).\n"
    text += f"Of good parts like these, at most {percent(calibration.rate)} will score above. In {output}\n"
    if calibration.left_out:
        text += f"You left out {calibration.left_out}: that they are not good rests on your word.\n"
    text += "These pictures set the threshold. Is each part really good? If not, name it with --leave-out.\n"
    shown = made.deciding[:MAX_DECIDING]
    text += "\n".join(f"  {score_text(score, 4)}  {file}" for file, score in shown)
    more = len(made.deciding) - len(shown)
    return f"{text}\n  ... and {more} more with lower scores" if more else text
