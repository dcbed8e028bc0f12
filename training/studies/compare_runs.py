"""Trials side by side: what each run changed, and what came of it. Those that did not pay stay in the table.

    python -m training.studies.compare_runs RUNS/a RUNS/b --output benchmarks/trials.md

Every run is described by the settings in which it differs from the baseline: the first run, or the preset or
TOML file that `--baseline` names. Each needs its config.toml and metrics.json, as `training.train` leaves
them. Rows that the file holds already stay, for folders of runs come and go; `--baseline` must then be
theirs.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config.schema import TrainConfig, load_config
from ..run_folder import UNRESOLVED

# These follow from the minutes and the machine, or say where things lie: they are no change of the recipe.
NOT_COMPARED = {("data", "path"), ("optim", "seed"), *(("optim", name) for name in UNRESOLVED)}


def changes(config: TrainConfig, baseline: TrainConfig) -> list[str]:
    """Settings in which a run differs, as `section.key=value`."""
    before, after = dataclasses.asdict(baseline), dataclasses.asdict(config)
    return [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key] and (section, key) not in NOT_COMPARED
    ]


def row_of(run: Path, baseline: TrainConfig) -> dict[str, Any]:
    """What the table says of a run.

    Raises:
        FileNotFoundError: the run is not finished.
    """
    for name in ("config.toml", "metrics.json"):
        if not (run / name).is_file():
            raise FileNotFoundError(f"`{run / name}` is missing; only finished runs can be compared.")
    config = load_config(str(run / "config.toml"))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    psnr = metrics.get("reconstruction", {}).get("psnr_normal_db")
    return {
        "trial": run.name,
        "changed": "<br>".join(f"`{change}`" for change in changes(config, baseline)) or "(baseline)",
        "data": metrics["category"],
        "seed": str(config.optim.seed),
        "minutes": f"{metrics['train_minutes']:.1f}",
        "steps": str(metrics["steps"]),
        "image AUROC": _value(metrics, "image_auroc"),
        "pixel AUROC": _value(metrics, "pixel_auroc"),
        "AUPRO": _value(metrics, "aupro"),
        "PSNR, dB": f"{psnr:.1f}" if psnr else "absent",
        "per defect": ", ".join(
            f"{name} {_value(found, 'image_auroc')}" for name, found in metrics.get("per_defect", {}).items()
        ),
    }


def _value(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]['value']:.3f}" if name in metrics else "absent"


def table(runs: list[Path], baseline: TrainConfig, kept: dict[str, str] | None = None) -> str:
    """A Markdown table with a line for each run.

    Args:
        runs: finished ones.
        baseline: what they are compared with.
        kept: lines that are there already, by the name of the trial; one of the same name is written anew.
    """
    rows = [row_of(run, baseline) for run in runs]
    lines = (kept or {}) | {row["trial"]: _line(row.values()) for row in rows}
    return "\n".join([_line(rows[0]), _line(["---"] * len(rows[0])), *lines.values()]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows_in(output: Path) -> dict[str, str]:
    """The lines of an earlier table, by the name of the trial; none where there is no such file."""
    if not output.is_file():
        return {}
    lines = [line for line in output.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[2:]}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.studies.compare_runs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--baseline", help="preset or TOML file that they changed; default: the first run's")
    parser.add_argument("--output", required=True, type=Path, help="Markdown file; rows in it stay")
    args = parser.parse_args(arguments)
    kept = rows_in(args.output)
    try:
        if not args.baseline and not set(kept) <= {run.name for run in args.runs}:
            raise ValueError(
                f"`{args.output}` holds rows of other runs, which stay: name what they were compared with by "
                "--baseline, or choose another --output."
            )
        baseline = load_config(args.baseline or str(args.runs[0] / "config.toml"))
        text = table(args.runs, baseline, kept)
    except (FileNotFoundError, ValueError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(
        f"# Trials\n\nWritten by `python -m training.studies.compare_runs`.\n\n{text}", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
