"""Runs one after the other, a category each, finished ones skipped; and the push of a finished run."""

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ..config.schema import TrainConfig
from ..run_folder import checkpoints, is_finished, same_config
from .divergence import TrainingError

CLONE = Path(__file__).parents[2]  # where `hub` lies
Train = Callable[[TrainConfig, Path, bool], Path]


def folder_name(config: TrainConfig) -> str:
    """Of a run whose folder was not named: the category, or the folder of the pictures."""
    return config.data.category.replace(",", "+") or Path(config.data.path).resolve().name


def for_category(config: TrainConfig, category: str) -> TrainConfig:
    """The same settings on another category."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, category=category))


def run_each(
    train: Train,
    config: TrainConfig,
    categories: Iterable[str],
    output: Path,
    after: Callable[[Path], None] = lambda run: None,
    configure: Callable[[TrainConfig, str], TrainConfig] = for_category,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """A run a category, in `output`/<category>; what is finished is skipped, what was interrupted goes on.

    Args:
        train: `training.train.train`.
        config: what the settings of all runs have in common.
        categories: `data.category` of each.
        output: folder of the run folders.
        after: called with the folder of every run that this call has finished.
        configure: the settings of one category.
        say: where sentences on the way go.

    Returns:
        Why categories failed; the others went on.

    Raises:
        ValueError: a run with other settings lies there; nothing is trained then.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    runs = {category: output / category for category in categories}
    configs = {category: configure(config, category) for category in runs}
    for category, run in runs.items():
        if checkpoints(run) or is_finished(run):
            configs[category] = same_config(run, configs[category])
    failures = {}
    for i, (category, run) in enumerate(runs.items(), 1):
        if is_finished(run):
            say(f"[{i}/{len(runs)}] {category}: finished, {run}")
            continue
        resume = bool(checkpoints(run))
        say(f"[{i}/{len(runs)}] {category}: {'goes on' if resume else 'starts'}, {run}")
        try:
            train(configs[category], run, resume)
            after(run)
        except (ValueError, OSError, TrainingError) as error:
            failures[category] = str(error)
            say(f"[{i}/{len(runs)}] {category}: failed: {error}")
    return failures


def push_to_hub(
    run: Path, repo: str, private: bool, dataset: str | None = None, license: str | None = None
) -> bool:
    """Publish a run by `python -m hub.push_model`; a push that fails says so and harms nothing.

    Args:
        run: finished.
        repo: "org/name".
        private: only its owners see it.
        dataset: what the pictures are called; None where their folder says it.
        license: theirs, the Hub's identifier; None for data that is known there.
    """
    command = [
        "-m",
        "hub.push_model",
        str(run.resolve()),
        "--repo",
        repo,
        *(["--private"] if private else []),
        *(["--dataset", dataset] if dataset else []),
        *(["--license", license] if license else []),
    ]
    done = subprocess.run([sys.executable, *command], check=False, cwd=CLONE)
    if done.returncode:
        print(
            f"The run is finished, but pushing it failed (status {done.returncode}). "
            f"Again: python {shlex.join(command)}",
            file=sys.stderr,
        )
    return done.returncode == 0
