"""Command-line options that decide the settings of a run, and the config they ask for."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import Decorator

from .loader import load_config, preset_names
from .schema import OptimConfig, TrainConfig

LENGTHS = ("max_minutes", "max_epochs", "max_steps")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the options of `settings_options` say; None where one was not given."""

    preset: str
    set: tuple[str, ...] = ()
    max_minutes: float | None = None
    max_epochs: int | None = None
    max_steps: int | None = None
    seed: int | None = None

    def config(self, data: str, base: TrainConfig | None = None) -> TrainConfig:
        """Return the config of a run on `data`.

        Args:
            data: its pictures.
            base: what the lengths and the seed change; None reads the preset and sets what `--set` says.

        Raises:
            ValueError: an unknown setting, or one that cannot be.
        """
        config = base or load_config(self.preset, list(self.set))
        optim = config.optim
        lengths = {name: getattr(self, name) for name in LENGTHS}
        if any(value is not None for value in lengths.values()):
            minutes, epochs, steps = (value or 0 for value in lengths.values())
            optim = dataclasses.replace(optim, max_minutes=minutes, max_epochs=epochs, max_steps=steps)
        if optim.max_minutes > 0 or optim.max_epochs > 0:
            optim = dataclasses.replace(optim, max_steps=0)  # not known yet
        if self.seed is not None:
            optim = dataclasses.replace(optim, seed=self.seed)
        _check_length(optim)
        return dataclasses.replace(config, optim=optim, data=dataclasses.replace(config.data, path=data))


def runs_folder() -> Path:
    """Return the default folder of run folders."""
    return Path(os.environ.get("DIFFUSIONAD_RUNS", "runs"))


def settings_options(preset: str | None = "tiny") -> Decorator:
    """Declare the options that make up `Settings`, which the command takes as `settings`.

    Args:
        preset: default of `--preset`; None for a command whose settings come from elsewhere.
    """
    presets = click.option(
        "--preset",
        default=preset,
        show_default=True,
        metavar="NAME",
        help=f"{', '.join(preset_names())}, or a TOML file.",
    )
    options = [
        *([presets] if preset else []),
        click.option(
            "--max-minutes", type=float, help="Length in minutes; the pace so far turns it into steps."
        ),
        click.option("--max-epochs", type=int, help="Length in epochs."),
        click.option("--max-steps", type=int, help="Length in optimiser steps."),
        click.option("--seed", type=int, help="Seed of everything that is drawn."),
        click.option(
            "--set", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting; may repeat."
        ),
    ]

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(*args: Any, **given: Any) -> Any:
            values = {f.name: given.pop(f.name, "") for f in dataclasses.fields(Settings)}
            lengths = [f"--{name.replace('_', '-')}" for name in LENGTHS if values[name] is not None]
            if len(lengths) > 1:
                raise click.UsageError(f"{' and '.join(lengths)} exclude each other; give one of them.")
            return command(*args, settings=Settings(**values), **given)

        decorated: Callable[..., Any] = with_settings
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return declare


def _check_length(optim: OptimConfig) -> None:
    for name in LENGTHS:
        if getattr(optim, name) < 0:
            raise ValueError(f"`optim.{name}` is {getattr(optim, name)}; give a number above 0.")
    if not (optim.max_minutes or optim.max_epochs or optim.max_steps):
        raise ValueError("`optim.max_steps`, `max_epochs` and `max_minutes` are 0; set one of them.")
