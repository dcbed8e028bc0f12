"""Texts of models, pictures and users are shown as text: none of them becomes markup on the page."""

import ast
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from places import ROOT

from diffusionad import calibrate
from diffusionad.inspection.results import Result
from diffusionad.loading.model_metrics import checked_metrics, read_metrics
from diffusionad.metric_labels import DETECTION, RATES
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.regions import Region
from diffusionad.postprocessing.verdict import Verdict
from diffusionad.ui.app import INTRO
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.results_table import results_table
from diffusionad.ui.components.roi_editor import note_html
from diffusionad.ui.components.snippets import (
    FOOTER,
    NO_MODEL_CARD,
    enlarged_line,
    expected_line,
    model_card,
    region_table,
    run_line,
    verdict_banner,
    waiting_banner,
)
from diffusionad.ui.components.summaries import batch_summary, calibration_card, calibration_in_use, progress
from diffusionad.ui.serving.batch_inspection import Row
from diffusionad.ui.serving.inspection_state import Inspection, inspect_picture
from diffusionad.ui.serving.model_registry import DEVICE_NAMES, Model, ModelRegistry
from diffusionad.ui.tabs.about import TEXT, figures, steps

UI = ROOT / "diffusionad" / "ui"
MARKER = """<img src=x onerror="alert('x')">"""
QUOTES = "\" onmouseover='alert(1)' x=\""  # would leave an attribute
FOREIGN = MARKER + QUOTES

CALIBRATION = Calibration(0.5, 0.1, FOREIGN, (0.1, 0.5), FOREIGN)  # type: ignore[arg-type]
METRICS = {
    **{name: {"value": 0.9, "interval": [0.8, 1.0], FOREIGN: FOREIGN} for name in DETECTION},
    **dict.fromkeys(RATES, 0.5),
    "n_good": FOREIGN,
    "n_defective": FOREIGN,
    "category": FOREIGN,
    "per_defect": {FOREIGN: {"n": FOREIGN, "detection_rate": 0.5, "defect_residue": 0.1}},
}


class Tags(HTMLParser):
    """Collects the tags and attributes that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path, make_pictures, monkeypatch) -> Model:
    """Of a stranger who has written markup into every text that a model has, past all checks at load."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "examples").mkdir()
    Image.fromarray(make_pictures(1)[0]).save(folder / "examples" / f"{MARKER}.png".replace("/", ""))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    model = ModelRegistry([str(folder)]).get(str(folder))
    model.name = FOREIGN
    model.pipeline.register_to_config(category=FOREIGN, threshold=0.5)
    monkeypatch.setattr(model, "metrics", lambda: METRICS)
    monkeypatch.setitem(DEVICE_NAMES, "cpu", FOREIGN)
    return model


@pytest.fixture
def inspection(model: Model) -> Inspection:
    honest = inspect_picture(model, str(model.examples()[0]))
    verdict = Verdict(True, 0.6, 0.5, 0.01, 0.1, FOREIGN)  # type: ignore[arg-type]
    region = Region((1, 1, 9, 9), 64, (5.0, 5.0), 0.9, (5, 5))
    return replace(honest, model=FOREIGN, device=FOREIGN, path=FOREIGN, verdict=verdict, regions=(region,))


def pages(model: Model, inspection: Inspection) -> dict[str, list[str]]:
    """What each HTML of the page can hold, by its id in the source; "-" are those without one."""
    rows = [
        Row(Result(Path(FOREIGN), inspection.verdict, seconds=0.1, error=FOREIGN), thumbnail=FOREIGN),
        Row(Result(Path(FOREIGN), error=FOREIGN)),
    ]
    explained = steps(model)
    model.pipeline.register_to_config(calibration=CALIBRATION.to_dict())  # no call would run with it
    banners = [waiting_banner(FOREIGN), verdict_banner(inspection)]
    examples: dict[bool, list[float]] = {True: [0.6], False: [0.1]}
    cards = [calibration_card(CALIBRATION, 0.1, 0.5, [0.1], examples)]
    cards += [calibration_card(None, 0.001, 0.5, scores, examples) for scores in ([], [0.1])]
    return {
        "'verdict'": banners,
        "'draw-verdict'": banners,
        "'regions'": [region_table(inspection), region_table(replace(inspection, regions=()))],
        "'run-line'": [run_line(inspection)],
        "'draw-run-line'": [run_line(inspection)],
        "'enlarged-line'": [enlarged_line(inspection, 0)],
        "'expected-time'": [expected_line(1.0, FOREIGN)],
        "'where-note'": [note_html(FOREIGN)],
        "'model-card'": [model_card(model), NO_MODEL_CARD],
        "f'{self.name}-status'": [
            progress(1, 2),
            batch_summary(model, 0.5, [r.result for r in rows]),
            *cards,
        ],
        "f'{self.name}-table'": [results_table(rows)],
        "'calibrate-in-use'": [calibration_in_use(CALIBRATION)],
        "'calibrate-histogram'": [histogram([0.1, 0.6], {FOREIGN: 0.5}, FOREIGN)],
        "'batch-histogram'": [histogram([0.1, 0.6], {FOREIGN: 0.5}, FOREIGN)],
        "'about-steps'": [explained],
        "'about-figures'": [figures(METRICS), figures(checked_metrics(METRICS))],
        "'intro'": [INTRO],
        "'footer'": [FOOTER],
        "-": [TEXT],
    }


def elements() -> set[str]:
    """The ids of all gr.HTML and gr.Markdown in the sources of the page."""
    found = set()
    for path in UI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("gr.HTML", "gr.Markdown"):
                ids = [ast.unparse(word.value) for word in node.keywords if word.arg == "elem_id"]
                found.add(ids[0] if ids else "-")
    return found


def test_every_html_of_the_page_shows_foreign_text_as_text(model, inspection):
    shown = pages(model, inspection)
    assert set(shown) == elements()
    for place, htmls in shown.items():
        for html in htmls:
            assert MARKER not in html, place
            for tag, attributes in tags_of(html):
                assert not any(name.startswith("on") for name in attributes), (place, tag, attributes)
                assert tag not in ("script", "iframe", "object", "embed"), place
                assert tag != "img" or attributes.get("src") != "x", place


def test_the_foreign_texts_are_there_and_not_just_left_out(model, inspection):
    shown = pages(model, inspection)
    silent = {place for place, htmls in shown.items() if not any("&lt;img src=x" in html for html in htmls)}
    # These show numbers and our own words.
    assert silent == {"'regions'", "'enlarged-line'", "'about-steps'", "'intro'", "'footer'", "-"}


def test_an_error_that_quotes_a_model_is_text(tiny_model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    for change in (
        {"_class_name": FOREIGN},
        {FOREIGN: 1},
        {"unet": [FOREIGN, FOREIGN]},
        {"resize_mode": FOREIGN},
    ):
        (folder / "model_index.json").write_text(json.dumps({**index, **change}))
        with pytest.raises(gr.Error, match="img src=x") as caught:
            ModelRegistry([str(folder)]).get(str(folder))
        assert tags_of(caught.value.message) == []


def test_there_is_one_way_from_a_value_to_html():
    importers = [
        path.name
        for path in UI.rglob("*.py")
        if "import html" in (text := path.read_text()) or "from html" in text
    ]
    assert importers == ["markup.py"]


def test_figures_of_another_type_or_range_are_left_out():
    assert checked_metrics(METRICS) == {
        **{name: {"value": 0.9, "interval": [0.8, 1.0]} for name in DETECTION},
        **dict.fromkeys(RATES, 0.5),
        "per_defect": {},
    }
    good = {"n": 3, "detection_rate": 0.5}
    wrong = {
        "image_auroc": {"value": float("nan")},
        "image_ap": {"value": True},
        "pixel_ap": {"value": 0.5, "interval": [0.1, FOREIGN]},
        "pixel_auroc": 0.5,
        "aupro": {"value": 7},
        "false_alarm_rate": "0.5",
        "detection_rate": 10**400,
        "n_good": -1,
        "n_defective": 1.5,
        "per_defect": {
            "a": good,
            "b": {"n": 3},
            "c": 5,
            "d": {**good, "n": True},
            "e": {**good, "defect_residue": ""},
        },
    }
    assert checked_metrics(wrong) == {"pixel_ap": {"value": 0.5}, "per_defect": {"a": good, "e": good}}
    assert checked_metrics({"per_defect": [1]}) == {}


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a": ' + "[" * 100_000, '"' + "x" * 17_000_000 + '"'], ids=len
)
def test_figures_that_cannot_be_read_are_left_out_with_a_warning(tmp_path, caplog, text):
    (tmp_path / "metrics.json").write_text(text)
    assert read_metrics(tmp_path) == {}
    assert "Figures left out" in caplog.text


def test_links_out_of_a_model_show_no_file_of_the_server(tiny_model_folder, tmp_path, make_pictures):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "examples").mkdir()
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "private.png")
    (tmp_path / "private.json").write_text(json.dumps({"image_auroc": {"value": 0.5}}))
    (folder / "examples" / "good_1.png").symlink_to(tmp_path / "private.png")
    (folder / "metrics.json").symlink_to(tmp_path / "private.json")
    model = ModelRegistry([str(folder)]).get(str(folder))
    assert model.examples() == [] and model.metrics() == {}


def test_an_honest_calibration_is_shown_as_before():
    assert "from 40 good parts" in calibration_in_use(calibrate(np.linspace(0, 0.9, 40)))
