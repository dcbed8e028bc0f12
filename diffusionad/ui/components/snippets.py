"""HTML about one picture or model: the verdict, the regions, the model in a line."""

import math
from typing import Any

from diffusionad import __version__
from diffusionad.metric_labels import WEAK_AUROC
from diffusionad.postprocessing import verdict as verdicts
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.regions import Region
from diffusionad.ui.components.markup import as_text
from diffusionad.ui.serving.inspection_state import Inspection
from diffusionad.ui.serving.model_registry import Model

MAX_ROWS = 10  # of the table of regions


def percent(rate: float) -> str:
    """Return `verdicts.percent` with a space that never breaks over two lines."""
    return verdicts.percent(rate).replace(" ", "\N{NO-BREAK SPACE}")


def waiting_banner(text: str) -> str:
    """Return the banner before there is a verdict."""
    return f'<div class="verdict waiting" role="status"><div class="word">{as_text(text)}</div></div>'


def busy_banner(text: str) -> str:
    """Return the banner while the model runs."""
    return waiting_banner(text).replace("verdict waiting", "verdict waiting busy", 1)


def verdict_banner(inspection: Inspection) -> str:
    """Return the banner with the verdict, readable from across the room, and its reasons."""
    verdict = inspection.verdict
    sign = {"defective": "✕", "good": "✓", "unknown": "?"}[verdict.word]
    details = verdict.details[:1].upper() + verdict.details[1:]
    details = details.replace("<=", "≤")
    for pair in (" %", "n = "):  # never over two lines
        details = details.replace(pair, pair.replace(" ", "\N{NO-BREAK SPACE}"))
    said = "".join(f"<p>{as_text(line)}</p>" for line in _sentences(inspection))
    score, threshold = 100 * verdict.score, 100 * verdict.threshold
    return (
        f'<div class="verdict {verdict.word}" role="status" aria-live="polite">'
        f'<div class="word"><span class="sign" aria-hidden="true">{sign}</span>{verdict.label.upper()}</div>'
        f'<div class="gauge" aria-hidden="true"><div class="fill" style="width:{score:.2f}%"></div>'
        f'<div class="tick" style="left:{threshold:.2f}%"></div></div>'
        f'<div class="why">{said}</div>'
        f"<details><summary>Figures</summary><p>{as_text(details)}</p></details></div>"
    )


def _sentences(inspection: Inspection) -> list[str]:
    """Return what the verdict means, in plain words, and what the user should know of the threshold."""
    verdict, share = inspection.verdict, inspection.expected_false_alarms()
    if verdict.is_known is False:
        return [
            "As a whole it looks unlike the good parts that this model knows: it can say neither good nor "
            "defective, nor what it should look like.",
            "Is it the right part, in the same light and view? For another part, train your own model.",
        ]
    if not verdict.is_anomalous:
        lines = ["It looks like the good parts that the model has seen."]
    elif verdict.p_value is None:
        lines = ["It looks odder than the threshold allows."]
    else:
        lines = [_how_rare(verdict.p_value)]
    if share is None:
        lines.append("Not calibrated for these settings: the score has no p-value.")
    elif verdict.threshold != inspection.own_threshold:
        lines.append(
            f"Threshold moved by hand: at most {percent(share)} of good parts would be called defective. "
            f"The model's own is {verdicts.score_text(inspection.own_threshold)}."
        )
    return lines


def _how_rare(p_value: float) -> str:
    """Return a p-value as people count."""
    if p_value > 0.1:
        return f"About {max(2, round(10 * p_value))} in 10 good parts look this odd."
    # Rounded down: fewer good parts than said would break the promise, not more.
    return f"At most 1 in {math.floor(1 / p_value + 1e-9):,} good parts looks this odd."


def region_table(inspection: Inspection) -> str:
    """Return the table of defective regions, highest peak first; a click on a row enlarges the region."""
    regions, pixels = inspection.regions, inspection.anomaly_map.size
    if not regions:
        is_faint = inspection.verdict.is_anomalous
        text = "Above the threshold by its highest points alone: " if is_faint else ""
        return f'<p class="note">{text}{"no" if is_faint else "No"} region stands out in this picture.</p>'
    rows = "".join(_row_html(number, region, pixels) for number, region in enumerate(regions[:MAX_ROWS]))
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Region", "Position", "Size", "Area", "Peak"))
    more = len(regions) - MAX_ROWS
    rest = f'<p class="note">… and {more} more with lower peaks.</p>' if more > 0 else ""
    table = f'<table class="regions"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>{rest}'


def _row_html(index: int, region: Region, pixels: int) -> str:
    left, top, right, bottom = region.box
    button = (
        f'<button type="button" aria-label="Enlarge region {index + 1}">{index + 1} <span>⤢</span></button>'
    )
    cells = (
        button,
        f"{left}, {top}",
        f"{right - left} × {bottom - top} px",
        f"{region.area} px ({percent(region.area / pixels)})",
        verdicts.score_text(region.peak),
    )
    return f'<tr data-region="{index}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def enlarged_line(inspection: Inspection, index: int) -> str:
    """Return the line above an enlarged region."""
    region = inspection.regions[index]
    share = percent(region.area / inspection.anomaly_map.size)
    peak = verdicts.score_text(region.peak)
    text = f"Region {index + 1}: {region.area} px, {share} of the picture, peak {peak}"
    return f'<p class="note">{text}</p>'


def run_line(inspection: Inspection) -> str:
    """Return the line with time, device, picture and model of an inspection."""
    height, width = inspection.anomaly_map.shape
    parts = [
        f"{inspection.seconds:.2f} s on the {as_text(inspection.device)}",
        f"picture {width} × {height} px",
        f"model {as_text(inspection.model)}",
    ]
    if inspection.inside is not None:
        parts.append(f"looked at {percent(float(inspection.inside.mean()))} of it, the rest is dark")
    line = f'<p class="note">{" · ".join(parts)}</p>'
    if inspection.used_bits is None:
        return line
    return (
        f'{line}<p class="note">The file has 16 bits, but its values fit into {inspection.used_bits}: the '
        "model sees them nearly black, as it names no <code>bit_depth</code>.</p>"
    )


def expected_line(seconds: float | None, device: str) -> str:
    """Return the line with the expected time of the next inspection."""
    if seconds is None:
        return ""
    return f'<p class="note" role="status">About {seconds:.2g} s a picture on this {as_text(device)}.</p>'


FOOTER = f"""
<p class="note">DiffusionAD {__version__}, MIT licence · <a href="https://arxiv.org/abs/2303.08730">paper</a>
· <a href="https://github.com/diffusionad/diffusionad">source</a> · pictures are deleted after six hours</p>
"""

NO_MODEL_CARD = '<div class="card"><p class="note">Choose a model, or name one of your own.</p></div>'


def model_card(model: Model, calibration: Calibration | None = None) -> str:
    """Return the card of a model: what it was trained on, and the promise of its threshold.

    Args:
        model: loaded.
        calibration: made by the user in this visit, in place of the model's own.
    """
    config, metrics = model.pipeline.config, model.metrics()
    size = f"{config.image_size} × {config.image_size} px"
    if config.resize_mode == "tile":
        scale = f", the shorter side at {config.shorter_side} px" if config.shorter_side else ""
        size = f"tiles of {size}{scale}"
    what = f"good {as_text(config.category)}" if config.category else "good parts"
    about = f"trained on {what} only, it has never seen a defect; "
    threshold, calibrated = config.threshold, config.calibration
    if calibration is not None:
        threshold, calibrated = calibration.threshold, calibration.to_dict()
    whose = "" if calibration is None else "Your "
    facts = [(f"{whose}threshold".capitalize(), verdicts.score_text(threshold))]
    if calibrated is not None and calibrated["threshold"] == threshold:
        yours = " of yours" if whose else ""
        promise = f"{percent(calibrated['rate'])}, from {calibrated['n']} good parts{yours}"
        promise += verdicts.left_out_note(calibrated.get("left_out", 0))
        facts.append(("Promised false alarms", promise))
    rows = "".join(f"<div><dt>{as_text(label)}</dt><dd>{as_text(value)}</dd></div>" for label, value in facts)
    auroc, known = metric_value(metrics, "image_auroc"), ""
    if auroc is None:
        known = '<p class="note">Not measured on defects.</p>'
    elif auroc < WEAK_AUROC:
        known = f'<p class="note">Weak: image AUROC {auroc:.2f}, where 0.5 is chance.</p>'
    return (
        f'<div class="card"><p><strong>{as_text(model.name)}</strong>: {about}'
        f"sees {as_text(size)}, runs on the {as_text(model.device)}</p><dl>{rows}</dl>{known}</div>"
    )


def metric_value(metrics: dict[str, Any], name: str) -> float | None:
    """Return a value of metrics.json; None where it is absent."""
    entry = metrics.get(name)
    value = entry.get("value") if isinstance(entry, dict) else None
    return float(value) if isinstance(value, int | float) else None
