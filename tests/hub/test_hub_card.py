"""The card of a published model: what the Hub reads of it, and what a stranger does."""

import dataclasses
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from hub.model_card import Publication, index_card, model_card
from hub.run import FinishedRun, read_run
from hub.training_data import KNOWN, DataSet, data_set_of

URL = "https://example.org/diffusionad"
DATA = KNOWN["mvtec-ad"]


@pytest.fixture
def finished(run) -> FinishedRun:
    return read_run(run)


def card_of(run: FinishedRun, data: DataSet = DATA, **values) -> ModelCard:
    return ModelCard(model_card(run, Publication("org/model", URL, data, **values)))


def with_metrics(run: FinishedRun, without: tuple[str, ...] = (), **values) -> FinishedRun:
    metrics = {k: v for k, v in run.metrics.items() if k not in without} | values
    return dataclasses.replace(run, metrics=metrics)


def test_the_card_has_the_front_matter_that_the_hub_reads(finished):
    front = yaml.safe_load(card_of(finished).content.split("---\n")[1])
    assert front["license"] == "cc-by-nc-sa-4.0"
    assert front["library_name"] == "diffusers"
    assert front["pipeline_tag"] == "image-segmentation"
    assert front["datasets"] == ["mvtec-ad"]
    assert {"diffusionad", "anomaly-detection", "arxiv:2303.08730"} <= set(front["tags"])
    assert "!!" not in card_of(finished).content.split("---\n")[1]  # no Python objects


def test_a_link_to_the_model_shows_its_panel_if_it_has_one(finished):
    shown = card_of(finished, panel="panel.png").data.to_dict()
    assert shown["thumbnail"] == "https://huggingface.co/org/model/resolve/main/panel.png"
    assert "thumbnail" not in card_of(finished).data.to_dict()


def test_the_card_gives_the_figures_as_results_of_the_category(finished):
    results = card_of(finished).data.eval_results
    assert {result.metric_type: result.metric_value for result in results} == {
        name: finished.metrics[name]["value"]
        for name in ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro")
    }
    assert all(type(result.metric_value) is float for result in results)
    assert {(r.dataset_type, r.dataset_config, r.dataset_split) for r in results} == {
        ("mvtec-ad", "noise", "test")
    }


def test_the_card_begins_with_its_name_and_how_to_install(finished):
    body = card_of(finished).text.strip()
    assert body.startswith(f'# model\n\nInstall with `pip install "diffusionad @ git+{URL}"`')


def test_the_code_on_the_card_compiles_and_names_the_repository(finished):
    blocks = re.findall(r"```python\n(.*?)```", card_of(finished).text, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")
        assert '"org/model"' in block
    assert 'DiffusionPipeline.from_pretrained("org/model", trust_remote_code=True)' in blocks[1]


@pytest.mark.parametrize(
    "sentence",
    [
        "| Image AUROC | 0.9100 | 0.8700 to 0.9300 |",
        "| broken thread | 12 | 75 % | 0.9300 | 0.8900 to 0.9500 |",
        "| hole | 8 | 100 % | - | - |",
        "category `noise`: 40 good and 20 defective pictures",
        "Not measured: Pixel AP (no masks), Pixel F1-max (no masks).",
        "The reconstruction keeps good pictures at 26.6 dB and leaves 48.7 % of the difference",
        "promises that at most 1 % of good parts are called defective",
        "2.5 % of the 40 good pictures were called defective and 85 % of the 20 defective ones were found",
        "12.5 pictures a second (80 ms each) in fp32 on an abacus, 2 CPUs, 1 thread, torch 2.13.0.",
        "| Input | 64 x 64 pixels, in blocks of 2 x 2 |",
        "| Steps | 1600 of 4 pictures |",
        "| Time | 31 minutes |",
        "`python -m training.train --data noise --preset tiny`",
        "are under the licence of those pictures, `cc-by-nc-sa-4.0`. That licence excludes commercial use",
        "Pictures are squeezed to 64 x 64 pixels",
        "arXiv preprint arXiv:2303.08730",
    ],
)
def test_the_card_says_what_was_measured(finished, sentence):
    settings = dict(finished.settings, calibration={**finished.settings["calibration"], "rate": 0.01})
    run = dataclasses.replace(finished, settings=settings)
    assert sentence in " ".join(card_of(run).text.split())


@pytest.mark.parametrize(
    ("shorter_side", "scale"), [(None, "at their own scale"), (512, "with a shorter side of 512 pixels")]
)
def test_the_card_says_how_pictures_are_cut_into_tiles(finished, shorter_side, scale):
    settings = {**finished.settings, "resize_mode": "tile", "shorter_side": shorter_side}
    text = " ".join(card_of(dataclasses.replace(finished, settings=settings)).text.split())
    assert f"Pictures are inspected {scale}, in overlapping tiles of 64 x 64 pixels" in text
    assert "| Input | tiles of 64 x 64 pixels, in blocks of 2 x 2 |" in text
    assert "squeezed" not in text


@pytest.mark.parametrize(
    ("entry", "says"), [(["diffusionad", "MarkMemory"], True), ([None, None], False), (None, False)]
)
def test_the_card_says_that_a_model_knows_marks_of_good_parts(finished, entry, says):
    run = dataclasses.replace(finished, settings={**finished.settings, "mark_memory": entry})
    text = " ".join(card_of(run).text.split())
    assert ("knows marks that good parts carry (`mark_memory`), and fades from the map" in text) is says
    assert ("mark" in text.replace("marks the repaired", "")) is says


def test_the_card_gives_the_figures_without_pretrained_features_beside_those_with_them(finished):
    assert "without pretrained features" not in card_of(finished).content
    own = {"image_auroc": {"value": 0.7654}, "aupro": {"value": 0.4}}
    features = {"feature_memory": ["diffusionad", "FeatureMemory"]}
    run = dataclasses.replace(finished, settings=finished.settings | features)
    content = card_of(with_metrics(run, from_scratch=own)).content
    assert "| metric | value | 95 % interval | without pretrained features |" in content
    assert re.search(r"(?i)\| image AUROC \| 0\.9100 \| [^|]* \| 0\.7654 \|", content)
    assert "EfficientNet-Lite0, Apache-2.0" in content


def test_the_card_of_a_student_compares_it_with_its_teacher(finished):
    assert "## Distilled" not in card_of(finished).content
    figures = {"image_auroc": 0.9512, "aupro": 0.81, "cpu_ms_per_picture": 31.5}
    student = figures | {"without_reconstruction": {"image_auroc": 0.55}}
    teacher = figures | {"image_auroc": 0.9612, "without_reconstruction": {"image_auroc": 0.44}}
    facts = {"teacher_sha256": "ab" * 32, "student": student, "teacher": teacher}
    run = dataclasses.replace(finished, settings={**finished.settings, "denoising": "distilled"})
    content = card_of(with_metrics(run, distillation=facts)).content
    assert "| image AUROC | 0.9512 | 0.9612 |" in content
    assert "in place of the reconstruction | 0.5500 | 0.4400 |" in content
    assert "abababababab" in content and "one pass from t = " in content


def test_the_card_says_what_the_model_misses_where_that_was_measured(finished):
    assert "What it misses" not in card_of(finished).text
    certificate = {"sentences": ["Dark dots of 12 levels are found."], "caveat": "Synthetic ones."}
    text = card_of(with_metrics(finished, certificate=certificate)).text
    assert "## What it misses\n\n- Dark dots of 12 levels are found.\n\nSynthetic ones.\n\n##" in text


def test_the_card_promises_nothing_for_a_threshold_set_by_hand(finished):
    for changed in ({"threshold": 0.123}, {"calibration": None}):
        run = dataclasses.replace(finished, settings=finished.settings | changed)
        text = card_of(run).text
        assert "set by hand and promises no false-alarm rate" in text
        assert "at most" not in text and "p_value" not in text


def test_the_card_leaves_out_what_is_not_known(finished):
    without = (
        "per_defect",
        "reconstruction",
        "images_per_second",
        "train_minutes",
        "absent",
        "command",
        "machine",
    )
    text = card_of(with_metrics(finished, without)).text
    for word in ("| defect |", "reconstruction keeps", "| Time |", "Not measured:", "None", "panel", "()"):
        assert word not in text
    assert "![" not in text


def test_the_picture_comes_right_after_the_name(finished):
    assert card_of(finished, panel="panel.png").text.strip().startswith("# model\n\n![A picture of noise")


def test_the_card_of_good_pictures_only_says_that_defects_were_not_measured(finished):
    known = {"n_good": 40, "n_defective": 0, "per_defect": {}, "false_alarm_rate": 0.025}
    gone = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro", "detection_rate")
    card = card_of(with_metrics(finished, gone, **known))
    assert "**Not measured on defects:**" in card.text and "| metric |" not in card.text
    assert "2.5 % of the 40 good pictures were called defective" in card.text
    assert not card.data.eval_results


def test_the_card_of_a_weak_model_says_so_before_anything_else(finished):
    weak = with_metrics(finished, image_auroc={"value": 0.55})
    text = card_of(weak).text.strip()
    assert text.startswith("# model\n\n**Warning:** This model is weak: its image AUROC is 0.55")
    assert "**Warning:**" not in card_of(finished).text


def test_the_card_shows_the_pictures_that_are_published_with_it(finished):
    text = card_of(finished, panel="panel.png", score_figure="figures/scores.png").text
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text) == ["panel.png", "figures/scores.png"]


def test_the_card_has_no_hole_and_no_endless_gap(finished):
    text = card_of(finished, panel="panel.png").text
    assert "\n\n\n" not in text and " \n" not in text and "{{" not in text and "{%" not in text


def test_the_card_of_other_licences_links_to_the_data(finished):
    front = yaml.safe_load(
        card_of(finished, DataSet("our-bolts", "Our bolts", "other")).content.split("---\n")[1]
    )
    assert (front["license"], front["license_name"]) == ("other", "see-training-data")


def test_the_card_over_all_categories_is_no_model(finished):
    runs = {"org/all-a": finished, "org/all-b": with_metrics(finished, ("aupro",))}
    card = ModelCard(index_card(runs, Publication("org/all", URL, DATA)))
    assert "diffusionad" not in card.data.tags
    assert "| **mean** | **91.0** | **92.0** | **88.0** | **97.0** | **89.0 (1 of 2)** |" in card.text
    assert card.text.count("](https://huggingface.co/org/all-") == 2
    rows = [line.count("|") for line in card.text.splitlines() if line.startswith("|")]
    assert len(set(rows)) == 1


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/data/mvtec_anomaly_detection/bottle", "mvtec-ad"),
        ("/data/MVTec-AD", "mvtec-ad"),
        ("downloads/VisA_20220922/candle", "visa"),
        ("kolektor_sdd", "kolektor-sdd"),
    ],
)
def test_the_card_knows_data_by_the_folder_of_its_archive(path, slug):
    assert data_set_of(path, None, None) is KNOWN[slug]


@pytest.mark.parametrize(
    "path", ["/data/bolts", "mvtec_loco_anomaly_detection", "KolektorSDD2", "mvtec_ad_2", ""]
)
def test_the_card_is_not_written_for_data_of_unknown_licence(path):
    with pytest.raises(ValueError, match=r"^`--dataset`: the training data are not known by their folder"):
        data_set_of(path, None, None)
    with pytest.raises(ValueError, match=r"^`--license` is missing: the licence of 'Our bolts' is not known"):
        data_set_of(path, "Our bolts", None)
    assert data_set_of(path, "Our bolts", "mit") == DataSet("our-bolts", "Our bolts", "mit")


def test_the_card_gives_weights_no_other_licence_than_the_data_has():
    with pytest.raises(ValueError, match=r"weights trained on MVTec-AD are under cc-by-nc-sa-4\.0"):
        data_set_of("x", "mvtec-ad", "mit")
