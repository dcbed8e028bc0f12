"""The options that several benchmarks share."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from diffusionad.cli.options import CannotRun

from ..config.loader import load_config
from ..config.schema import TrainConfig


def preset_option(default: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare `--preset`, settings of a training run."""
    return click.option("--preset", default=default, show_default=True, metavar="PRESET", help=help)


def preset_config(preset: str, settings: Sequence[str] = ()) -> TrainConfig:
    """Load a preset with changed settings.

    Raises:
        CannotRun: there is no such preset, or a setting is unknown or not allowed.
    """
    try:
        return load_config(preset, list(settings))
    except (ValueError, OSError) as error:
        raise CannotRun(str(error)) from error
