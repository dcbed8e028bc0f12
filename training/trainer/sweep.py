"""Runs one after the other, one for each category, finished ones skipped; and the push of a finished run."""

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ..config.schema import TrainConfig
from ..run_folder import checkpoints, is_finished, same_config
from .divergence import TrainingError

Train = Callable[[TrainConfig, Path, bool], Path]


def folder_name(config: TrainConfig) -> str:
    """Return the default name of a run folder: the category, or the folder of the pictures."""
    return config.data.category.replace(",", "+") or Path(config.data.path).resolve().name


def for_category(config: TrainConfig, category: str) -> TrainConfig:
    """Return the same settings for another category."""
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
    """Train a model for each category, in `output`/<category>; skip finished runs, resume interrupted ones.

    Args:
        train: `trainer.training.train`.
        config: settings that all runs share.
        categories: `data.category` of each run.
        output: folder of the run folders.
        after: called with the folder of every run that this call has finished.
        configure: returns the settings of one category.
        say: takes the sentences on the way.

    Returns:
        Reasons by category that failed; the others went on.

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
    run: Path, repo_id: str, private: bool, dataset: str | None = None, license: str | None = None
) -> bool:
    """Publish a run by `diffusionad push`; a push that fails says so and harms nothing.

    Args:
        run: folder of a finished run.
        repo_id: repository on the Hub, "org/name".
        private: only its owners see it.
        dataset: name of the data set; None where its folder says it.
        license: licence of the pictures, the Hub's identifier; None for a known data set.

    Returns:
        Whether it was published.
    """
    command = ["-m", "diffusionad", "push", "--run", str(run.resolve()), "--repo-id", repo_id]
    command += ["--private"] if private else []
    command += ["--dataset", dataset] if dataset else []
    command += ["--license", license] if license else []
    done = subprocess.run([sys.executable, *command], check=False)
    if done.returncode:
        print(
            f"The run is finished, but pushing it failed (status {done.returncode}). "
            f"Again: python {shlex.join(command)}",
            file=sys.stderr,
        )
    return done.returncode == 0
