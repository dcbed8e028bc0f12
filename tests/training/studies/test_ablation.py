"""Studies on a trained pipeline: each changes what it says and leaves the rest alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.catalog import scan
from training.evaluation.evaluator import segmenter_sees_the_picture_twice
from training.studies import ablation
from training.studies.ablation import Ablation, setting_studies, subset


def run(model: Path, data: Path, output: Path, *studies: str) -> list[dict]:
    arguments = ["--model", str(model), "--data", str(data), "--output", str(output), "--per-kind", "1"]
    assert ablation.main([*arguments, *(word for study in studies for word in ("--study", study))]) == 0
    return json.loads(output.with_suffix(".json").read_text())["rows"]


@pytest.fixture(scope="module")
def measured(tiny_model_folder: Path, waves: Path, tmp_path_factory) -> Path:
    """NAME of an ablation with every study that needs no training, the costly ones cut short."""
    output = tmp_path_factory.mktemp("ablation") / "waves"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "STEPS", (1, 2))
        patch.setattr(ablation, "GRID", ((100, 400, 0.0), (100, 400, 1.0), (100, 300, 0.0), (400, 400, 1.0)))
        patch.setattr(ablation, "WEIGHTS", (0.0,))
        patch.setattr(ablation, "NOISE_SAMPLES", (1, 2))
        patch.setattr(ablation, "SEEDS", (0, 1))
        run(tiny_model_folder, waves, output, *ablation.STUDIES)
    return output


def labels_of(output: Path, study: str) -> list[str]:
    rows = json.loads(output.with_suffix(".json").read_text())["rows"]
    return [row["label"] for row in rows if row["study"] == study]


def test_every_study_has_its_rows(measured: Path) -> None:
    assert labels_of(measured, "steps") == ["one norm-guided step", "2 DDPM steps"]
    assert labels_of(measured, "guidance")[0] == "w = 0 (fine only)"
    assert labels_of(measured, "guidance")[-1].endswith("(coarse only)")
    assert labels_of(measured, "grid") == ["100, 400, w = 0", "100, 400, w = 1"]
    assert len(labels_of(measured, "noise")) == len(labels_of(measured, "seeds")) == 2
    assert labels_of(measured, "input") == ["picture and reconstruction", "the picture twice"]
    assert labels_of(measured, "dtype") == ["float32", "bfloat16"]


def test_every_row_has_detection_reconstruction_and_time(measured: Path) -> None:
    for row in json.loads(measured.with_suffix(".json").read_text())["rows"]:
        for name in ("image_auroc", "pixel_ap", "aupro", "psnr_normal_db", "defect_residue"):
            assert np.isfinite(row[name]), (row, name)
        assert row["cpu_ms_per_picture"] > 0


def test_the_report_has_a_table_a_study_and_the_spread_over_seeds(measured: Path) -> None:
    text = measured.with_suffix(".md").read_text()
    assert text.count("## ") == len(ablation.STUDIES)
    assert "| **standard deviation** |" in text
    assert measured.with_name("waves_steps.png").stat().st_size > 5000
    assert measured.with_name("waves_grid.png").stat().st_size > 5000


def test_a_stopped_ablation_goes_on_without_measuring_again(
    measured: Path, tiny_model_folder, waves, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "again"
    report = json.loads(measured.with_suffix(".json").read_text())
    report["rows"] = [row for row in report["rows"] if row["study"] == "input"][:1]
    output.with_suffix(".json").write_text(json.dumps(report))
    measure, calls = ablation.evaluate, []
    monkeypatch.setattr(ablation, "evaluate", lambda *a, **k: calls.append(a[2]) or measure(*a, **k))
    monkeypatch.setattr(ablation.sys, "argv", ["ablation", "--study", "input"])
    run(tiny_model_folder, waves, output, "input")
    assert calls == ["input: the picture twice"]
    commands = json.loads(output.with_suffix(".json").read_text())["commands"]
    assert commands[0] == report["commands"][0] and commands[1].endswith("--study input")
    assert all(f"`{command}`" in output.with_suffix(".md").read_text() for command in commands)
    assert labels_of(output, "input") == ["picture and reconstruction", "the picture twice"]


def test_rows_of_other_pictures_are_never_mixed(measured: Path, tiny_model_folder, waves, capsys) -> None:
    arguments = ["--model", str(tiny_model_folder), "--data", str(waves), "--output", str(measured)]
    assert ablation.main([*arguments, "--per-kind", "2", "--study", "input"]) == 2
    assert "rows of another pipeline or of other pictures" in capsys.readouterr().err


def test_coarse_only_is_the_coarse_prediction(fresh_pipeline, make_pictures) -> None:
    [picture] = make_pictures(1)
    (_, settings) = setting_studies(fresh_pipeline)["guidance"][-1]
    blended = fresh_pipeline(picture, output_type="np", **settings).reconstruction
    # The other way to see only the coarse scale: make it the fine one, with the coarse noise, unguided.
    fine_noise_only = fresh_pipeline(picture, output_type="np", guidance_weight=0.0).reconstruction
    assert settings["guidance_weight"] > 1
    assert np.abs(blended - fine_noise_only).max() > 1e-3
    alpha_bar = float(fresh_pipeline.scheduler.alphas_cumprod[fresh_pipeline.config.t_fine])
    assert settings["guidance_weight"] * (1 - alpha_bar) == pytest.approx(1, rel=1e-6)


def test_the_picture_twice_hides_the_reconstruction_within_only(fresh_pipeline, make_pictures) -> None:
    [picture] = make_pictures(1)
    before = fresh_pipeline(picture).score
    with segmenter_sees_the_picture_twice(fresh_pipeline):
        within = [fresh_pipeline(picture, guidance_weight=w).score[0] for w in (0.0, 2.0)]
    assert within[0] == within[1] != before[0]
    assert fresh_pipeline(picture).score == before


def test_a_study_leaves_the_settings_as_they_were(tiny_model_folder, waves, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "NOISE_SAMPLES", (2,))
    study = Ablation(tiny_model_folder, subset(scan(waves).test, 1), tmp_path / "rows.json")
    before = {k: v for k, v in study.pipeline.settings().items() if k != "calibration"}
    study.run("noise", str(waves), "tiny", 0)
    after = {k: v for k, v in study.pipeline.settings().items() if k != "calibration"}
    assert after == before


def test_a_subset_has_as_many_good_pictures_as_defective_ones(waves) -> None:
    chosen = subset(scan(waves).test, 2)
    assert [r.defect for r in chosen] == ["good"] * 4 + ["bright"] * 2 + ["dark"] * 2


@pytest.mark.slow
def test_losses_are_compared_by_training_again(tiny_model_folder, waves, tmp_path) -> None:
    config = tmp_path / "small.toml"
    config.write_text(
        "[data]\nimage_size = 32\nnum_workers = 0\n"
        "[model]\npatch_size = 2\nunet_channels = [16, 32]\nunet_attention_sizes = []\n"
        "segmenter_channels = [8, 16]\nsegmenter_stem_patch = 1\n"
        '[optim]\nbatch_size = 4\nprecision = "no"\n[log]\nvalidations = 1\nsamples = 0\n'
    )
    output = tmp_path / "losses"
    arguments = ["--model", str(tiny_model_folder), "--data", str(waves), "--output", str(output)]
    training = ["--study", "losses", "--preset", str(config), "--max-minutes", "0.01"]
    assert ablation.main([*arguments, "--per-kind", "1", *training]) == 0
    assert labels_of(output, "losses") == ["paper", "bce_dice"]
    assert "trained again" in output.with_suffix(".md").read_text()
