"""Training runs side by side: the settings that each run changed, and its metrics.

    python -m training.studies.compare_runs RUNS/a RUNS/b --output benchmarks/trials.md

A run is described by the settings in which it differs from the baseline: the first run, or the preset or
TOML file that `--baseline` names. Each run needs its config.toml and metrics.json. Earlier rows of the file
stay, since run folders come and go; they must have the same baseline.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import CannotRun, output_option, run
from diffusionad.metric_labels import METRIC_LABELS

from ..config.loader import load_config
from ..config.schema import TrainConfig
from ..run_folder import UNRESOLVED

METRICS = ("image_auroc", "pixel_auroc", "aupro")
# No part of the recipe: paths, the seed, and settings that follow from the minutes and the machine.
NOT_COMPARED = {("data", "path"), ("optim", "seed"), *(("optim", name) for name in UNRESOLVED)}


def changes(config: TrainConfig, baseline: TrainConfig) -> list[str]:
    """Return the settings in which a run differs, as `section.key=value`."""
    before, after = dataclasses.asdict(baseline), dataclasses.asdict(config)
    return [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key] and (section, key) not in NOT_COMPARED
    ]


def row_of(folder: Path, baseline: TrainConfig) -> dict[str, str]:
    """Return the cells of a run by their column heads.

    Raises:
        FileNotFoundError: the run is not finished.
    """
    for name in ("config.toml", "metrics.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"`{folder / name}` is missing; only finished runs can be compared.")
    config = load_config(str(folder / "config.toml"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    psnr = metrics.get("reconstruction", {}).get("psnr_normal_db")
    return {
        "run": folder.name,
        "changed": "<br>".join(f"`{change}`" for change in changes(config, baseline)) or "(baseline)",
        "data": metrics["category"],
        "seed": str(config.optim.seed),
        "minutes": f"{metrics['train_minutes']:.1f}",
        "steps": str(metrics["steps"]),
        **{METRIC_LABELS[name].label: _value(metrics, name) for name in METRICS},
        METRIC_LABELS["psnr_normal_db"].short: f"{psnr:.1f}" if psnr else "absent",
        "per defect": ", ".join(
            f"{name} {_value(found, 'image_auroc')}" for name, found in metrics.get("per_defect", {}).items()
        ),
    }


def _value(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]['value']:.3f}" if name in metrics else "absent"


def table(runs: Iterable[Path], baseline: TrainConfig, kept: dict[str, str] | None = None) -> str:
    """Return a Markdown table with a line for each run.

    Args:
        runs: folders of finished runs.
        baseline: settings that the runs are compared with.
        kept: earlier lines by the name of the run; a run of the same name replaces its line.
    """
    rows = [row_of(folder, baseline) for folder in runs]
    lines = (kept or {}) | {row["run"]: _line(row.values()) for row in rows}
    return "\n".join([_line(rows[0]), _line(["---"] * len(rows[0])), *lines.values()]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows_in(output: Path) -> dict[str, str]:
    """Return the lines of an earlier table by the name of the run; none without such a file."""
    if not output.is_file():
        return {}
    lines = [line for line in output.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[2:]}


@click.command("compare-runs")
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Preset or TOML file that the runs changed.  [default: the first run's]",
)
@output_option("Markdown file; earlier rows in it stay.")
def compare_runs_command(runs: tuple[Path, ...], baseline: str | None, output: Path) -> None:
    """Write a table of training runs: the settings that each changed, and its metrics."""
    kept = rows_in(output)
    if not baseline and not set(kept) <= {folder.name for folder in runs}:
        raise CannotRun(
            f"`{output}` holds rows of other runs, which stay: name their baseline by --baseline, or choose "
            "another --output."
        )
    try:
        text = table(runs, load_config(baseline or str(runs[0] / "config.toml")), kept)
    except (FileNotFoundError, ValueError) as error:
        raise CannotRun(str(error)) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        f"# Runs side by side\n\nWritten by `python -m training.studies.compare_runs`.\n\n{text}",
        encoding="utf-8",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(compare_runs_command, arguments, "python -m training.studies.compare_runs")


if __name__ == "__main__":
    sys.exit(main())
