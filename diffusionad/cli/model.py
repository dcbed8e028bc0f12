"""The model that a command runs: its options on the command line, and loading it with them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffusionad.cli.options import CannotRun, announce, one_line

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADPipeline

# Options of `score_settings` and `verdict_settings`, and the setting of the pipeline that each overrides.
SETTINGS = {
    "threshold": "threshold",
    "bit_depth": "bit_depth",
    "t_fine": "t_fine",
    "t_coarse": "t_coarse",
    "guidance_weight": "guidance_weight",
    "num_noise_samples": "num_noise_samples",
    "steps": "num_inference_steps",
    "roi": "roi",
    "min_region_area": "min_region_area",
    "ignore_border": "ignore_border",
}

Command = Callable[..., Any]


def running_options(command: Command) -> Command:
    """Declare `--device` and `--dtype`."""
    device = click.option(
        "--device",
        type=click.Choice(("auto", "cpu", "cuda", "mps")),
        default="auto",
        help="Where the networks run; auto takes the fastest that is there.",
    )
    dtype = click.option(
        "--dtype",
        type=click.Choice(("float32", "bfloat16", "float16")),
        default="float32",
        help="Number format of the networks.",
    )
    return device(dtype(command))


def score_settings(command: Command) -> Command:
    """Declare the options for settings that change scores; the model's own hold where one is not given."""
    for option in reversed(
        (
            click.option(
                "--bit-depth", type=int, metavar="BITS", help="Of the camera, where files have 16 bits."
            ),
            click.option("--t-fine", type=int, metavar="T", help="Timestep of the fine noise scale."),
            click.option("--t-coarse", type=int, metavar="T", help="Timestep of the coarse noise scale."),
            click.option("--guidance-weight", type=float, metavar="W", help="0 uses the fine scale alone."),
            click.option("--num-noise-samples", type=int, metavar="N", help="Noise draws to average."),
            click.option(
                "--steps", type=int, metavar="N", help="1 is the method; more is classical denoising."
            ),
            click.option("--roi", metavar="MASK", help="Picture of a mask, white where to look."),
            click.option(
                "--ignore-border", type=int, metavar="PIXELS", help="Of the model's map, on each side."
            ),
        )
    ):
        command = option(command)
    return command


def verdict_settings(command: Command) -> Command:
    """Declare the options for settings that turn scores into verdicts."""
    threshold = click.option(
        "--threshold", type=float, metavar="X", help="Scores above are defective; in 0..1."
    )
    area = click.option(
        "--min-region-area", type=int, metavar="PIXELS", help="Smaller regions are no defect."
    )
    return threshold(area(command))


def gathering_settings(command: Command) -> Command:
    """Hand the settings given on the command line to `command` as one argument, `settings`.

    It goes below the decorators that declare the options.
    """

    @functools.wraps(command)
    def gathered(**arguments: Any) -> Any:
        given = {name: arguments.pop(option, None) for option, name in SETTINGS.items()}
        return command(**arguments, settings={k: v for k, v in given.items() if v is not None})

    return gathered


def load_pipeline(
    model: str,
    device: str = "auto",
    dtype: str = "float32",
    settings: dict[str, Any] | None = None,
    keep_calibration: bool = True,
) -> "DiffusionADPipeline":
    """Load a model onto its device, with the settings given on the command line.

    Args:
        model: folder, id on the Hub, or name of an embedded model.
        device: auto, cpu, cuda or mps.
        dtype: name of a torch type.
        settings: settings of the pipeline that override the model's own.
        keep_calibration: False drops the calibration first: no warning that it does not fit `settings`.

    Raises:
        CannotRun: no such device or model, or a setting that cannot be.
    """
    from diffusionad.deploy.about import is_exported

    if is_exported(model):
        return _load_exported(model, device, dtype, settings)
    announce(f"Loading {model} ...")
    import torch

    from diffusionad.pipeline import DiffusionADPipeline

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(d for d in available if available[d]) if device == "auto" else device
    if not available[device]:
        raise CannotRun(f"--device {device}: torch {torch.__version__} finds none; use cpu or auto.")
    try:
        pipeline = DiffusionADPipeline.from_pretrained(model_source(model), dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise CannotRun(f"--model: {one_line(error)}") from error
    if not keep_calibration:
        pipeline.configure(calibration=None)
    try:
        pipeline.configure(**settings or {})
    except ValueError as error:
        raise CannotRun(one_line(error)) from error
    return pipeline.to(device)


def _load_exported(model: str, device: str, dtype: str, settings: dict[str, Any] | None) -> Any:
    """Load an export: it runs on the CPU, in its own precision, without torch."""
    from diffusionad.deploy.exported import ExportedPipeline

    if device not in ("auto", "cpu") or dtype != "float32":
        raise CannotRun(f"`{model}` is an export, which runs on the CPU in its own precision.")
    try:
        return ExportedPipeline(model).configure(**settings or {})
    except (OSError, ValueError) as error:
        raise CannotRun(f"--model: {one_line(error)}") from error


def model_source(model: str) -> str:
    """Return what `--model` names: a folder, an embedded model's folder, or an id on the Hub."""
    from diffusionad.loading.bundled import demo_model, demo_models

    is_embedded = model in demo_models() and not Path(model).is_dir()
    return demo_model(model) if is_embedded else model
