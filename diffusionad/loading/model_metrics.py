"""The figures that a model brings along in metrics.json: anybody may have written them."""

import logging
from pathlib import Path
from typing import Any

from diffusionad.loading.model_files import read_json
from diffusionad.metric_labels import DETECTION, RATES

METRICS_FILE = "metrics.json"
MAX_PICTURES, MAX_DEFECTS = 10**9, 200  # pictures, kinds of defect
MAX_NAME = 200  # characters of the name of one
MAX_SENTENCES, MAX_SENTENCE = 3, 400  # of a certificate; characters of each
MAX_RESIDUE = 1000  # a share of the defect, which a bad repair can make larger

logger = logging.getLogger(__name__)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the figures of a model that are of the right type and range; a model works without them.

    Args:
        folder: of the model.

    Returns:
        Metrics by name, each {"value": in 0..1, "interval": [low, high] if it was given}; rates by name in
        0..1; `n_good` and `n_defective`; `per_defect`: {name: {"n", "detection_rate", "defect_residue"}};
        `certificate`: {"sentences", "caveat"}.
    """
    try:
        values = read_json(folder / METRICS_FILE, folder)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("Figures left out: %s", error)
        return {}
    return checked_metrics(values)


def checked_metrics(values: dict[str, Any]) -> dict[str, Any]:
    """Return those figures that are of the right type and range; see `read_metrics`."""
    metrics: dict[str, Any] = {}
    for name in DETECTION:
        entry = values.get(name)
        if isinstance(entry, dict) and _is_number(entry.get("value"), 1):
            interval = {"interval": entry["interval"]} if _is_pair(entry.get("interval")) else {}
            metrics[name] = {"value": entry["value"], **interval}
    metrics |= {name: values[name] for name in RATES if _is_number(values.get(name), 1)}
    metrics |= {name: values[name] for name in ("n_good", "n_defective") if _is_count(values.get(name))}
    defects = values.get("per_defect")
    if isinstance(defects, dict):
        checked = {name[:MAX_NAME]: _checked_defect(defects[name]) for name in [*defects][:MAX_DEFECTS]}
        metrics["per_defect"] = {name: entry for name, entry in checked.items() if entry}
    certificate = _checked_certificate(values.get("certificate"))
    return metrics | ({"certificate": certificate} if certificate else {})


def _checked_certificate(entry: Any) -> dict[str, Any]:
    """Return the sentences of a certificate and its caveat; empty where they are not texts."""
    if not isinstance(entry, dict) or not isinstance(entry.get("sentences"), list):
        return {}
    texts = [*entry["sentences"][:MAX_SENTENCES], entry.get("caveat")]
    if not all(isinstance(text, str) for text in texts):
        return {}
    *sentences, caveat = (text[:MAX_SENTENCE] for text in texts)
    return {"sentences": sentences, "caveat": caveat}


def _checked_defect(entry: Any) -> dict[str, Any]:
    """Return the figures of one kind of defect; empty where its number or rate is missing."""
    if not isinstance(entry, dict) or not _is_count(entry.get("n")):
        return {}
    if not _is_number(entry.get("detection_rate"), 1):
        return {}
    names = ["n", "detection_rate"]
    if _is_number(entry.get("defect_residue"), MAX_RESIDUE):
        names.append("defect_residue")
    return {name: entry[name] for name in names}


def _is_pair(interval: Any) -> bool:
    return isinstance(interval, list) and len(interval) == 2 and all(_is_number(v, 1) for v in interval)


def _is_number(value: Any, high: float) -> bool:
    """Say whether a value is a number in 0..high, which neither NaN nor True is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= high


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value, MAX_PICTURES)
