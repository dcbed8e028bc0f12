"""HTML about a batch: progress, counts of verdicts, the threshold and its effect."""

from collections import Counter
from collections.abc import Sequence

from diffusionad.inspection.results import Result
from diffusionad.postprocessing.calibration import Calibration, pictures_needed, smallest_rate
from diffusionad.postprocessing.verdict import NOT_KNOWN, left_out_note, score_text
from diffusionad.ui.components.markup import as_text
from diffusionad.ui.components.snippets import percent
from diffusionad.ui.serving.model_registry import Model


def progress(done: int, total: int) -> str:
    """Return the progress of a run."""
    text = f"{done} of {total} pictures inspected"
    share = 100 * done / total
    return (
        f'<div class="verdict waiting"><div class="word">{text}</div>'
        f'<div class="gauge" role="progressbar" aria-label="{text}" aria-valuenow="{share:.0f}">'
        f'<div class="fill" style="width:{share:.1f}%"></div></div></div>'
    )


def batch_summary(model: Model, threshold: float, rows: Sequence[Result]) -> str:
    """Return the counts of verdicts, with model and threshold."""
    counts = Counter(row.word for row in rows)
    kinds = {"defective": "defective", "good": "good", "unknown": NOT_KNOWN, "error": "not read"}
    pills = "".join(
        f'<span class="count"><strong>{counts[word]}</strong> <span class="pill {word}">{shown}</span></span>'
        for word, shown in kinds.items()
        if counts[word] or word in ("defective", "good")
    )
    seconds = [row.seconds for row in rows if row.seconds is not None]
    pace = (
        f", {sum(seconds) / len(seconds):.2f} s a picture on the {as_text(model.device)}" if seconds else ""
    )
    return (
        f'<div class="card" role="status"><p class="counts">{pills}</p><p class="note">Model '
        f"{as_text(model.name)}, threshold {score_text(threshold)}{pace}. "
        "Click a row to look at it closely.</p></div>"
    )


def calibration_card(
    calibration: Calibration | None,
    rate: float | None,
    own: float,
    scores: Sequence[float],
    example_scores: dict[bool, list[float]],
) -> str:
    """Return the new threshold and its effect, or why there is none.

    Args:
        calibration: None where the pictures cannot promise the rate.
        rate: the requested one.
        own: the model's threshold.
        scores: of the good pictures.
        example_scores: of the model's examples, by whether they are defective.
    """
    n = len(scores)
    if calibration is None:
        return f'<div class="card" role="status"><p>{as_text(_why_not(rate, n))}</p></div>'
    new = calibration.threshold
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "model's own", "new"))
    rows = {
        "Threshold": [score_text(own), score_text(new)],
        "Your good parts called defective": [_above(scores, own), _above(scores, new)],
        "The model's defective examples found": [_above(example_scores[True], t) for t in (own, new)],
        "The model's good examples called defective": [_above(example_scores[False], t) for t in (own, new)],
    }
    body = "".join(
        f'<tr><th scope="row">{label}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for label, cells in rows.items()
        if cells[0]
    )
    return (
        '<div class="card" role="status">'
        f'<p class="headline">New threshold <strong>{score_text(new)}</strong></p>'
        f"<p>Of good parts like these {n}{left_out_note(calibration.left_out)}, at most "
        f"<strong>{percent(calibration.rate)}</strong> will be called defective. "
        f"{n} pictures can promise {percent(smallest_rate(n))} at best.</p>"
        f'<table class="facts"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _why_not(rate: float | None, n: int) -> str:
    if n == 0:
        return "None of the pictures could be read: see below."
    if rate is None or not 0 < rate < 1:
        return "Name a share of false alarms above 0 % and below 100 %."
    needed = pictures_needed(rate)
    return (
        f"{n} good picture{'s' * (n != 1)} can promise {percent(smallest_rate(n))} false alarms at best. "
        f"For {percent(rate)} it takes {needed}: {needed - n} more."
    )


def _above(scores: Sequence[float], threshold: float) -> str:
    """Count the scores above a threshold: `3 of 40`; empty without scores."""
    return f"{sum(score > threshold for score in scores)} of {len(scores)}" if scores else ""


def calibration_in_use(calibration: Calibration | None) -> str:
    """Return the note about the user's calibration; empty for the model's own."""
    if calibration is None:
        return ""
    return (
        f'<p class="in-use" role="status">Your threshold {score_text(calibration.threshold)} is in use '
        f"on all tabs: {percent(calibration.rate)} false alarms, from {as_text(calibration.n)} good "
        f"parts{left_out_note(calibration.left_out)}.</p>"
    )
