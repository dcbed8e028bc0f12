"""The table over all categories of a data set, as papers print it: Markdown, LaTeX and CSV.

    python -m training.evaluation.tables FOLDER

FOLDER holds FOLDER/<category>/metrics.json, as `training.evaluation` or training runs write them; table.md,
table.tex and table.csv go beside them.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from .metrics import METRICS

COLUMNS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1max",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1_max": "P-F1max",
    "aupro": "AUPRO",
}
MEAN = "mean"
ABSENT = "-"


def write_tables(folder: Path) -> str:
    """table.md, table.tex and table.csv from FOLDER/<category>/metrics.json.

    Returns:
        The Markdown table.

    Raises:
        FileNotFoundError: there is no metrics.json below `folder`.
    """
    paths = sorted(folder.glob("*/metrics.json"))
    if not paths:
        raise FileNotFoundError(f"`{folder}` holds no <category>/metrics.json; evaluate a category first.")
    rows = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    table = markdown(rows)
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "table.tex").write_text(latex(rows), encoding="utf-8")
    write_csv(folder / "table.csv", rows)
    return table


def percentages(rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A line a category and one of means: name, then each metric in percent.

    A mean is taken over the categories that have the metric, and says over how many where some lack it.
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
    """The table in Markdown, the means in bold."""
    *lines, means = percentages(rows)
    header = ["category", *COLUMNS.values()]
    aligned = ["---"] + ["--:"] * len(METRICS)
    return "".join(
        f"| {' | '.join(line)} |\n" for line in [header, aligned, *lines, [f"**{cell}**" for cell in means]]
    )


def latex(rows: dict[str, dict[str, Any]]) -> str:
    """The table in LaTeX, for the package booktabs."""
    *lines, means = percentages(rows)
    body = [" & ".join(_escape(cell) for cell in line) + r" \\" for line in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(METRICS)}}}",
            r"\toprule",
            " & ".join(["category", *COLUMNS.values()]) + r" \\",
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
    """A row a category with every digit, and the ends of the intervals."""
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


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="holds <category>/metrics.json")
    args = parser.parse_args(arguments)
    try:
        print(write_tables(args.folder), end="")
    except FileNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
