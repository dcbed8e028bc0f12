"""Labels of metrics: complete, in the order of the tables, and written once."""

import ast
from pathlib import Path

import diffusionad
from diffusionad import metric_labels
from diffusionad.metric_labels import DETECTION, METRIC_LABELS
from training.evaluation.metrics import METRICS

CLONE = Path(diffusionad.__file__).parents[1]


def labelled_metrics(source: str) -> list[str]:
    """Metrics that a dict of the source maps to words."""
    return [
        key.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value in METRIC_LABELS
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]


def test_every_metric_of_the_evaluation_has_its_labels_in_that_order() -> None:
    assert tuple(DETECTION) == METRICS
    for form in ("label", "short", "spelled_out"):
        words = [getattr(label, form) for label in METRIC_LABELS.values()]
        assert all(words) and len(set(words)) == len(words), form
    assert DETECTION["image_ap"].heading == "Image AP"
    assert DETECTION["image_ap"].spelled_out_heading == "Image average precision"


def test_no_other_module_labels_a_metric() -> None:
    assert labelled_metrics('{"aupro": "AUPRO", "image_ap": 3}') == ["aupro"]
    files = [path for room in ("diffusionad", "training", "hub") for path in (CLONE / room).rglob("*.py")]
    assert Path(metric_labels.__file__) in files
    for path in files:
        assert labelled_metrics(path.read_text(encoding="utf-8")) == [], path
