"""The table of a batch: small overlays; a click on a heading sorts it, a click on a row opens the picture."""

from collections.abc import Sequence

from diffusionad.postprocessing.verdict import score_text
from diffusionad.ui.components.markup import as_text
from diffusionad.ui.serving.batch_inspection import Row

HEADINGS = ("File", "Verdict", "Score", "Regions", "p-value")


def results_table(rows: Sequence[Row]) -> str:
    """Return the table as HTML: the highest score first, unreadable pictures last.

    The `row` of a click event is the position in `rows`.
    """
    order = sorted(range(len(rows)), key=lambda i: _rank(rows[i]))
    # All rows of a run have a p-value, or none.
    has_p = any(row.result.verdict and row.result.verdict.p_value is not None for row in rows)
    names = HEADINGS if has_p else HEADINGS[:-1]
    heads = "".join(
        f'<th scope="col" data-sorts{" aria-sort=descending" if head == "Score" else ""}>'
        f'<button type="button">{head}</button></th>'
        for head in names
    )
    body = "".join(_row_html(i, rows[i], len(names)) for i in order)
    return (
        '<div class="many"><table><thead><tr><th scope="col"><span class="unseen">Overlay</span></th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _rank(row: Row) -> float:
    return -row.result.verdict.score if row.result.verdict else 1.0


def _row_html(i: int, row: Row, columns: int) -> str:
    name, verdict = as_text(str(row.result.file)), row.result.verdict
    if verdict is None:
        cells = (
            f'<td data-value="{name}">{name}<p class="note">{as_text(row.result.error or "")}</p></td>'
            '<td><span class="pill error">not read</span></td>' + '<td data-value=""></td>' * (columns - 2)
        )
        return f"<tr><td></td>{cells}</tr>"
    p_value = "" if verdict.p_value is None else f"<td>{verdict.p_value:.3f}</td>"
    return (
        f'<tr data-row="{i}"><td>'
        f'<img src="{as_text(row.thumbnail)}" alt="Overlay of {name}" loading="lazy"></td>'
        f'<td data-value="{name}"><button type="button" class="open">{name}</button></td>'
        f'<td><span class="pill {verdict.word}">{verdict.label}</span></td>'
        f'<td data-value="{verdict.score!r}">{score_text(verdict.score)}</td>'
        f"<td>{len(row.result.regions)}</td>{p_value}</tr>"
    )
