import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from example_run import FIGURES
from PIL import Image
from scipy.special import expit

from diffusionad.cli.main import main
from diffusionad.files import file_sha256
from diffusionad.loading.model_metrics import checked_metrics
from diffusionad.ui.tabs.about import figures
from training.certificate.certificate import certify, sentences_of
from training.certificate.fit import fit_rate, size_found
from training.certificate.graded import HARD, SHAPES, Grade, paste, with_dot
from training.certificate.trials import GoodPicture, agreement, run_trials
from training.evaluation.html_report import copy_certificate_figures, write_report
from training.evaluation.metrics import METRICS
from training.trainer.finish import certificate_of

GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture
def good(make_pictures, tmp_path) -> list[Path]:
    paths = [tmp_path / "good" / f"{i}.png" for i in range(3)]
    paths[0].parent.mkdir()
    for path, picture in zip(paths, make_pictures(3), strict=True):
        Image.fromarray(picture // 2 + 64).save(path)
    return paths


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [-96, -6, 6, 48])
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_the_contrast_on_the_picture_is_what_was_asked(shape, levels, size):
    damaged, mask = paste(GREY, Grade(shape, size, levels), (32, 32), angle=0.7)
    change = damaged.astype(int) - GREY
    assert np.array_equal(mask, (change != 0).any(axis=-1))
    assert change[mask].min() == levels if levels < 0 else change[mask].max() == levels
    if shape in HARD:
        assert set(change[mask].ravel()) == {levels}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_a_dot_is_as_wide_as_was_asked(size):
    _, mask = paste(GREY, Grade("dots", size, 20), (32, 32))
    assert mask.any(axis=0).sum() == mask.any(axis=1).sum() == size


@pytest.mark.parametrize("angle", np.linspace(0, math.pi, 9))
@pytest.mark.parametrize("size", [1, 2, 5, 12, 13])
def test_a_scratch_is_as_long_as_was_asked_within_two_pixels(size, angle):
    _, mask = paste(GREY, Grade("scratches", size, 20), (32, 32), angle)
    rows, columns = np.nonzero(mask)
    length = np.hypot(np.ptp(rows), np.ptp(columns)) + 1
    assert abs(length - size) <= 1.5


def test_a_cloud_has_half_its_contrast_at_its_width():
    damaged, _ = paste(GREY, Grade("clouds", 10, 40), (32, 32))
    assert (damaged[32, [27, 32, 37], 0].astype(int) - 128).tolist() == [20, 40, 20]


def test_a_defect_that_would_lose_contrast_or_be_cut_is_not_pasted():
    assert paste(GREY, Grade("dots", 9, 20), (2, 30)) is None
    assert paste(GREY + np.uint8(120), Grade("dots", 3, 20), (30, 30)) is None


def test_the_fit_finds_the_line_that_the_defects_were_drawn_from():
    rng = np.random.default_rng(0)
    size, levels = 2.0 ** rng.uniform(0, 5, 3000), 2.0 ** rng.uniform(2, 7, 3000)
    found = rng.random(3000) < expit(2 * np.log2(size) + 1.5 * np.log2(levels) - 11)
    weights = fit_rate(size, levels, found)
    assert size_found(weights, 24, 0.5) == pytest.approx(2 ** ((11 - 1.5 * math.log2(24)) / 2), rel=0.15)


def test_twenty_defects_are_fitted_without_a_large_bias():
    rng, true = np.random.default_rng(0), np.array([-18, 2, 1.5])
    size, levels = (a.ravel() for a in np.meshgrid([5.0, 10, 26, 61, 102], [6.0, 12, 24, 48, 96]))
    rates = expit(np.column_stack([np.ones(25), np.log2(size), np.log2(levels)]) @ true)
    fitted = []
    for _ in range(40):
        drawn = rng.integers(25, size=20)
        weights = fit_rate(size[drawn], levels[drawn], rng.random(20) < rates[drawn])
        fitted.append(expit(np.column_stack([np.ones(25), np.log2(size), np.log2(levels)]) @ weights))
    assert np.abs(np.mean(fitted, axis=0) - rates).mean() < 0.05  # 0.13 with a ridge on the intercept


def test_the_fit_never_falls_with_size_or_contrast():
    size, levels = np.tile([1.0, 8.0], 20), np.repeat([8.0, 64.0], 20)
    weights = fit_rate(size, levels, (size == 1) & (levels == 8))
    assert (weights[1:] >= 0).all()
    assert size_found(weights, 8, 0.95) == math.inf


def test_a_certificate_is_the_same_for_the_same_seed(tiny_pipeline, good, tmp_path):
    first = certify(tiny_pipeline, good, tmp_path / "a", pictures=12)
    again = certify(tiny_pipeline, good, tmp_path / "b", pictures=12)
    with (tmp_path / "a" / "trials.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == first["defects"]
    assert sum(row["is_found"] == "True" for row in rows) == sum(f["found"] for f in first["families"])
    assert first == again == json.loads((tmp_path / "a" / "certificate.json").read_text())
    assert len(first["sentences"]) == 3 and first["defects"] > 12
    assert (tmp_path / "a" / "rates.png").is_file() and (tmp_path / "a" / "where.png").is_file()


def test_the_third_sentence_says_where_no_defect_was_tried():
    tried, nowhere = np.zeros((8, 8), int), np.zeros((8, 8), int)
    tried[3, 3] = 4
    where = {"tried": tried.tolist(), "found": nowhere.tolist()}
    *_, last = sentences_of({"families": [], "where": where, "side_pixels": 200, "grain_levels": 2.0})
    assert "up to 10 pixels, 0 of 4 are found inside the picture, none was tried in its outer" in last


def test_a_shorter_time_gives_the_first_trials_of_a_longer_one(tiny_pipeline, good):
    goods = [GoodPicture(tiny_pipeline, path) for path in good]
    short, long = (run_trials(tiny_pipeline, goods, n, math.inf, seed=3) for n in (3, 8))
    assert long[: len(short)] == short and len(long) > len(short)


def test_found_follows_the_pixel_threshold(fresh_pipeline, good):
    calibration = fresh_pipeline.config.calibration
    rates = []
    for threshold in (0.0, 1.0):
        value = {**calibration, "pixel_threshold": threshold}
        fresh_pipeline.register_to_config(calibration=value)
        goods = [GoodPicture(fresh_pipeline, path) for path in good]
        for one in goods:
            one.marked[:] = False  # at threshold 0 the whole good picture is marked
        trials = run_trials(fresh_pipeline, goods, 4, math.inf, seed=0)
        rates.append(np.mean([trial.is_found for trial in trials]))
    assert rates == [1.0, 0.0]


def test_agreement_compares_pictures_with_one_defect(tiny_pipeline, good):
    goods = [GoodPicture(tiny_pipeline, path) for path in good]
    same, compared = agreement(tiny_pipeline, goods, math.inf, seed=0)
    assert 0 <= same <= compared <= 12


def test_the_command_says_in_one_sentence_why_it_cannot_run(tiny_model_folder, good, tmp_path, capsys):
    output = tmp_path / "out"
    base = ["certify", str(tiny_model_folder), "--output", str(output), "--pictures", "4", "--data"]
    assert main([*base, str(good[0])]) == 2
    assert "a certificate needs 3 good pictures or more, not 1" in capsys.readouterr().err
    output.mkdir()
    (output / "mine.txt").touch()
    assert main([*base, str(good[0].parent)]) == 2
    assert "exists already" in capsys.readouterr().err
    (output / "mine.txt").unlink()
    assert main([*base, str(good[0].parent)]) == 0
    assert "outer eighth" in capsys.readouterr().out


def test_pictures_that_the_model_was_trained_on_are_refused(tiny_model_folder, good, tmp_path, capsys):
    shutil.copytree(tiny_model_folder, tmp_path / "run" / "pipeline")
    entry = {"sha256": file_sha256(good[1])}
    (tmp_path / "run" / "splits.json").write_text(json.dumps({"train": [entry]}))
    model = str(tmp_path / "run" / "pipeline")
    assert main(["certify", model, "--output", str(tmp_path / "out"), "--data", str(good[0].parent)]) == 2
    assert "1 of 3 pictures are in the train set" in capsys.readouterr().err


def test_the_end_of_a_training_measures_on_calibration_pictures(tiny_pipeline, good, tmp_path):
    def loop(minutes: float, pictures: list[Path]) -> Any:
        settings = SimpleNamespace(
            log=SimpleNamespace(certificate_minutes=minutes), optim=SimpleNamespace(seed=0)
        )
        return SimpleNamespace(
            output=tmp_path, config=settings, setup=SimpleNamespace(sets={"calibration": pictures})
        )

    assert certificate_of(loop(0, good), tiny_pipeline) == {}
    assert certificate_of(loop(0.01, good[:2]), tiny_pipeline) == {}
    (tmp_path / "certificate").mkdir()
    (tmp_path / "certificate" / "of_the_run_before.png").touch()
    found = certificate_of(loop(0.001, good), tiny_pipeline)["certificate"]
    assert found["good_pictures"] == 3 and found["defects"] > 0
    assert sorted(p.name for p in (tmp_path / "certificate").iterdir()) == [
        "certificate.json",
        "rates.png",
        "trials.csv",
        "where.png",
    ]


def test_the_report_and_the_page_show_the_sentences_as_text(tmp_path):
    certificate = {"sentences": ["Dots > 3 <b>are</b> found."], "caveat": "Synthetic & no more."}
    metrics = {**FIGURES, "certificate": certificate}
    (tmp_path / "certificate").mkdir()
    (tmp_path / "figures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "certificate" / "rates.png")
    copy_certificate_figures(tmp_path / "certificate", tmp_path / "figures")
    absent = {name: "not here" for name in METRICS if name not in metrics}
    write_report(tmp_path, metrics | {"absent": absent})
    report = (tmp_path / "report.html").read_text()
    assert "<li>Dots &gt; 3 &lt;b&gt;are&lt;/b&gt; found.</li>" in report and report.count("<img") == 1
    assert "Dots &gt; 3 &lt;b&gt;are" in figures(checked_metrics(metrics))
    foreign = {"sentences": [{"a": 1}], "caveat": "x"}
    assert "certificate" not in checked_metrics({"certificate": foreign})


def test_an_uncalibrated_model_is_refused(fresh_pipeline, good, tmp_path):
    fresh_pipeline.register_to_config(calibration=None)
    with pytest.raises(ValueError, match="not calibrated"):
        certify(fresh_pipeline, good, tmp_path / "out")


def test_a_dot_that_a_person_would_see_lies_on_the_copy():
    for level in (0.0, 0.5, 1.0):
        picture = np.full((60, 90, 3), level, np.float32)
        copy = with_dot(picture)
        assert copy is not None
        change = np.abs(copy.astype(int) - round(level * 255))[..., 0]
        assert set(np.unique(change)) == {0, 40} and 2 <= np.count_nonzero(change) <= 9
    checks = (np.indices((60, 60)).sum(axis=0) % 2).astype(np.float32)
    assert with_dot(np.repeat(checks[..., None], 3, axis=2)) is None
