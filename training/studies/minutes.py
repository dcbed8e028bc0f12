"""What do minutes buy? The same training, stopped after different times, tested on the same pictures.

    python -m training.studies.minutes --data FOLDER --minutes 2,5,10,20,60 --output benchmarks/minutes_NAME

Trains a run for each time, from the start, in RUNS/Nmin; finished runs are kept and interrupted ones go on.
Writes NAME.json, NAME.md and NAME.png: image AUROC and AUPRO of both forms, with pretrained features and
from scratch. `--baselines` adds the baselines that `training.studies.baselines` has measured.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

from diffusionad.cli.options import data_option, output_option, run
from diffusionad.files import replacing
from diffusionad.metric_labels import METRIC_LABELS

from ..cli import ResumableCommand, guarded
from ..config.options import Settings, runs_folder, settings_options
from ..config.schema import TrainConfig, with_optim
from ..console import say
from ..evaluation.metrics import LOCALISATION_METRICS
from ..evaluation.provenance import command, machine, versions
from ..trainer.sweep import run_each
from ..trainer.training import train

METRICS = ("image_auroc", "aupro", "pixel_ap", *LOCALISATION_METRICS)
FIDELITY = ("psnr_part_db", "gradient_correlation")
PLOTTED = ("image_auroc", "aupro")
WITH_FEATURES, FROM_SCRATCH = "with pretrained features", "from scratch"
COLORS = {WITH_FEATURES: "#f06e28", FROM_SCRATCH: "#26a69a"}


class Minutes(click.ParamType):
    """Comma-separated times, each above 0."""

    name = "minutes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """Return the times in ascending order, each once."""
        try:
            minutes = sorted({float(part) for part in value.split(",")})
        except ValueError:
            minutes = [0.0]
        if not all(0 < m < math.inf for m in minutes):
            self.fail(f"`{value}` are no times; give minutes above 0 with commas between: 2,5,10.")
        return tuple(minutes)


def folder_of(minutes: float) -> str:
    """Return the name of the run of so many minutes."""
    return f"{minutes:g}min"


def train_each(config: TrainConfig, minutes: Sequence[float], runs: Path) -> list[Path]:
    """Train for each time where that is not done yet; return the run folders.

    Raises:
        ValueError: a run failed, or one with other settings lies in its folder.
    """
    times = {folder_of(m): m for m in minutes}

    def of_time(config: TrainConfig, name: str) -> TrainConfig:
        return with_optim(config, max_minutes=times[name])

    failures = run_each(train, config, times, runs, configure=of_time, say=say)
    for name, reason in failures.items():
        raise ValueError(f"the run `{runs / name}` failed: {reason}")
    return [runs / name for name in times]


def rows_of(run_folder: Path, minutes: float) -> list[dict[str, Any]]:
    """Return a row for each form that the run has measured, the pretrained features first."""
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    facts = {"minutes": minutes, "train_minutes": metrics["train_minutes"], "steps": metrics["steps"]}
    facts |= {name: value for name, value in metrics["reconstruction"].items() if name in FIDELITY}
    forms = {FROM_SCRATCH: metrics}
    if "from_scratch" in metrics:
        forms = {WITH_FEATURES: metrics, FROM_SCRATCH: metrics["from_scratch"]}
    return [
        {"form": form, **facts, **{name: figures[name] for name in METRICS if name in figures}}
        for form, figures in forms.items()
    ]


def baseline_rows(path: Path) -> list[dict[str, Any]]:
    """Return the baselines of a file of `training.studies.baselines`, at the minutes that their fit took.

    Raises:
        ValueError: it is no such file.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [
            {"form": name, "minutes": row["fit_seconds"] / 60, **{m: row[m] for m in METRICS if m in row}}
            for name, row in rows.items()
            if "fit_seconds" in row and not name.startswith("DiffusionAD")
        ]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"`--baselines`: `{path}` was not written by training.studies.baselines.") from error


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a line a form and time."""
    names = [*METRICS, *FIDELITY]
    head = ["", "minutes", *(METRIC_LABELS[name].label for name in names)]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for row in rows:
        cells = []
        for name in names:
            value = row.get(name)
            value = value["value"] if isinstance(value, dict) else value
            cells.append("-" if value is None else f"{value:.{METRIC_LABELS[name].decimals}f}")
        lines.append([row["form"], f"{row['minutes']:.3g}", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Plot image AUROC and AUPRO with their 95 % intervals against the minutes."""
    figure = Figure(figsize=(8, 3.4), dpi=120, layout="constrained")
    times = sorted({row["minutes"] for row in rows if row["form"] in COLORS})
    for axes, name in zip(figure.subplots(1, len(PLOTTED)), PLOTTED, strict=True):
        for form, color in COLORS.items():
            found = [row for row in rows if row["form"] == form and name in row]
            x, y = [row["minutes"] for row in found], [row[name]["value"] for row in found]
            low, high = zip(*(row[name]["interval"] for row in found), strict=True) if found else ((), ())
            axes.plot(x, y, "o-", color=color, label=form)
            axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        for row, marker in zip([r for r in rows if r["form"] not in COLORS], "sD^v", strict=False):
            if name in row:
                axes.plot(row["minutes"], row[name]["value"], marker, color="#1f2933", label=row["form"])
        axes.set(xscale="log", xlabel="minutes of training", ylabel=METRIC_LABELS[name].label)
        axes.set_xticks(times, [f"{time:g}" for time in times])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


@click.command("minutes", cls=ResumableCommand)
@data_option("Data set with a test split.")
@click.option("--minutes", type=Minutes(), default="2,5,10,20,60", show_default=True, help="Times to train.")
@click.option(
    "--baselines",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="NAME.json of training.studies.baselines on the same data.",
)
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Folder of the runs. Default: $DIFFUSIONAD_RUNS/minutes."
)
@output_option("Base name of the results: NAME.json, NAME.md, NAME.png.")
@settings_options()
def minutes_command(
    data: str,
    minutes: tuple[float, ...],
    baselines: Path | None,
    runs: Path | None,
    output: Path,
    settings: Settings,
) -> int:
    """Train for several times and show what the minutes bring."""

    def work() -> int:
        config, others = settings.config(data), baseline_rows(baselines) if baselines else []
        folders = train_each(config, minutes, runs or runs_folder() / "minutes" / Path(data).resolve().name)
        rows = [row for folder, m in zip(folders, minutes, strict=True) for row in rows_of(folder, m)]
        rows = sorted(rows, key=lambda row: row["form"], reverse=True) + others
        report = {"rows": rows, "command": command(), "versions": versions(), "machine": machine()}
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        table = markdown_table(rows)
        output.with_suffix(".md").write_text(table, encoding="utf-8")
        plot(rows).savefig(output.with_suffix(".png"))
        click.echo(table, nl=False)
        return 0

    return guarded(work, is_resumed=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(minutes_command, arguments, "python -m training.studies.minutes")


if __name__ == "__main__":
    sys.exit(main())
