"""The table over all categories of a data set, as papers print it: Markdown, LaTeX and CSV.

    python -m training.evaluation.tables --data FOLDER

FOLDER holds <category>/metrics.json, as evaluations and training runs write them; the command writes
table.md, table.tex and table.csv beside them. Where models have pretrained features, the figures without
them become table_from_scratch.md, .tex and .csv.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import CannotRun, data_option, run
from diffusionad.metric_labels import DETECTION

from .metrics import METRICS

HEAD = ["category", *(DETECTION[name].short for name in METRICS)]
MEAN = "mean"
ABSENT = "-"
COUNTS = ("n_good", "n_defective")


def write_tables(folder: Path) -> str:
    """Write table.md, table.tex and table.csv from `folder`/<category>/metrics.json.

    Returns:
        The Markdown table.

    Raises:
        FileNotFoundError: no folder in `folder` holds a metrics.json.
    """
    paths = sorted(folder.glob("*/metrics.json"))
    if not paths:
        raise FileNotFoundError(f"`{folder}` holds no <category>/metrics.json; evaluate a category first.")
    rows = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    own = {
        n: row["from_scratch"] | {k: row[k] for k in COUNTS}
        for n, row in rows.items()
        if "from_scratch" in row
    }
    table = _write(folder / "table", rows)
    return (
        f"{table}\nWithout pretrained features:\n\n{_write(folder / 'table_from_scratch', own)}"
        if own
        else table
    )


def _write(path: Path, rows: dict[str, dict[str, Any]]) -> str:
    table = markdown(rows)
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    path.with_suffix(".tex").write_text(latex(rows), encoding="utf-8")
    write_csv(path.with_suffix(".csv"), rows)
    return table


def percentages(rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return a line a category and a line of means: the name, then each metric in percent.

    A mean covers the categories that have the metric; where some lack it, the cell says how many have it.
    """
    lines = [
        [name, *(f"{100 * row[m]['value']:.1f}" if m in row else ABSENT for m in METRICS)]
        for name, row in rows.items()
    ]
    means = [MEAN]
    for name in METRICS:
        values = [row[name]["value"] for row in rows.values() if name in row]
        mean = f"{100 * sum(values) / len(values):.1f}" if values else ABSENT
        means.append(mean if len(values) in (0, len(rows)) else f"{mean} ({len(values)} of {len(rows)})")
    return [*lines, means]


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown, the means in bold."""
    *lines, means = percentages(rows)
    aligned = ["---"] + ["--:"] * len(METRICS)
    return "".join(
        f"| {' | '.join(line)} |\n" for line in [HEAD, aligned, *lines, [f"**{cell}**" for cell in means]]
    )


def latex(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in LaTeX, for the package booktabs."""
    *lines, means = percentages(rows)
    body = [" & ".join(_escape(cell) for cell in line) + r" \\" for line in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(METRICS)}}}",
            r"\toprule",
            " & ".join(HEAD) + r" \\",
            r"\midrule",
            *body,
            r"\midrule",
            " & ".join(_escape(cell) for cell in means) + r" \\",
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def write_csv(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write a row a category with every digit, and the ends of the intervals."""
    columns = [c for m in METRICS for c in (m, f"{m}_low", f"{m}_high")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["category", *columns, "n_good", "n_defective"])
        writer.writeheader()
        for name, row in rows.items():
            line = {"category": name, "n_good": row["n_good"], "n_defective": row["n_defective"]}
            for metric in METRICS:
                if metric in row:
                    low, high = row[metric]["interval"]
                    line |= {metric: row[metric]["value"], f"{metric}_low": low, f"{metric}_high": high}
            writer.writerow(line)


def _escape(text: str) -> str:
    for sign in ("&", "%", "_", "#"):
        text = text.replace(sign, f"\\{sign}")
    return text


@click.command("tables")
@data_option("Folder that holds <category>/metrics.json.")
def tables_command(data: str) -> None:
    """Write table.md, table.tex and table.csv over all categories of a data set."""
    try:
        click.echo(write_tables(Path(data)), nl=False)
    except FileNotFoundError as error:
        raise CannotRun(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(tables_command, arguments, "python -m training.evaluation.tables")


if __name__ == "__main__":
    sys.exit(main())
