"""The table of many pictures: small overlays, sorted by a click on a head, a row opened by a click."""

from collections.abc import Sequence
from html import escape

from diffusionad.inspection.results import score_text
from diffusionad.ui.serving.batch_inspection import Row

# The page's own table: sorting needs no server, and a row is a button for the keyboard, too.
SORT_AND_OPEN = """
const value = (row, column) => {
    const text = row.children[column].dataset.value ?? row.children[column].textContent;
    return text !== '' && !isNaN(text) ? Number(text) : text;
};
const sort = (head) => {
    const column = [...head.parentNode.children].indexOf(head);
    const descending = head.ariaSort === 'ascending';
    const body = element.querySelector('tbody');
    const compare = (a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === '' || y === '') return (x === '') - (y === '');  // nothing to compare goes last
        const isNumber = typeof x === 'number' && typeof y === 'number';
        const order = isNumber ? x - y : String(x).localeCompare(String(y));
        return descending ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of head.parentNode.children) other.removeAttribute('aria-sort');
    head.ariaSort = descending ? 'descending' : 'ascending';
};
element.addEventListener('click', (event) => {
    const head = event.target.closest('th[data-sorts]');
    if (head) return sort(head);
    const row = event.target.closest('tr[data-row]');
    if (row) trigger('click', {row: Number(row.dataset.row)});
});
"""

HEADS = ("File", "Verdict", "Score", "Regions", "p-value")


def table(rows: Sequence[Row]) -> str:
    """The highest score first, and what could not be read last.

    The `row` of a click is the position in `rows`.
    """
    order = sorted(range(len(rows)), key=lambda i: _rank(rows[i]))
    # Of one run, either all have a p-value or none.
    has_p = any(row.result.verdict and row.result.verdict.p_value is not None for row in rows)
    names = HEADS if has_p else HEADS[:-1]
    heads = "".join(
        f'<th scope="col" data-sorts{" aria-sort=descending" if head == "Score" else ""}>'
        f'<button type="button">{head}</button></th>'
        for head in names
    )
    body = "".join(_row(i, rows[i], len(names)) for i in order)
    return (
        '<div class="many"><table><thead><tr><th scope="col"><span class="unseen">Overlay</span></th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _rank(row: Row) -> float:
    return -row.result.verdict.score if row.result.verdict else 1.0


def _row(i: int, row: Row, columns: int) -> str:
    name, verdict = escape(str(row.result.file)), row.result.verdict
    if verdict is None:
        cells = (
            f'<td data-value="{name}">{name}<p class="note">{escape(row.result.error)}</p></td>'
            '<td><span class="pill error">not read</span></td>' + '<td data-value=""></td>' * (columns - 2)
        )
        return f"<tr><td></td>{cells}</tr>"
    word = "anomalous" if verdict.is_anomalous else "good"
    p_value = "" if verdict.p_value is None else f"<td>{verdict.p_value:.3f}</td>"
    return (
        f'<tr data-row="{i}"><td><img src="{row.thumbnail}" alt="Overlay of {name}" loading="lazy"></td>'
        f'<td data-value="{name}"><button type="button" class="open">{name}</button></td>'
        f'<td><span class="pill {word}">{word}</span></td>'
        f'<td data-value="{verdict.score!r}">{score_text(verdict.score)}</td>'
        f"<td>{len(row.result.regions)}</td>{p_value}</tr>"
    )
