"""Baselines: each is fitted on good pictures, and all are measured alike."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as sample_pictures

from diffusionad.images.image_io import read_image, resize
from diffusionad.models.efficientnet_lite0 import load_lite0
from training.data.catalog import scan
from training.studies import baselines
from training.studies.baseline_methods import PatchMemory, PixelGaussian, ReconstructionError

CLASSES = {
    "chelsea": (281, 282, 285),
    "coffee": (967,),
    "rocket": (657,),
}  # ImageNet: cats, espresso, missile


@pytest.mark.parametrize("name", CLASSES)
def test_lite0_knows_what_is_on_a_photo(name: str) -> None:
    photo = getattr(sample_pictures, name)()
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    square = resize((photo[top : top + side, left : left + side] / 255).astype(np.float32), (224, 224))
    with torch.no_grad():
        logits = load_lite0()(torch.from_numpy(square).permute(2, 0, 1)[None])
    assert logits.argmax().item() in CLASSES[name]


@pytest.fixture(scope="module")
def good_files(waves: Path) -> list[Path]:
    return [record.image for record in scan(waves).train]


@pytest.mark.parametrize("name", ["gaussian", "memory"])
def test_a_baseline_sees_where_a_picture_differs_from_the_good_ones(name, good_files, make_pictures) -> None:
    baseline = PixelGaussian() if name == "gaussian" else PatchMemory(patches=200)
    baseline.fit(good_files)
    picture = make_pictures(1, side=72, seed=9)[0][:, :64].astype(np.float32) / 255
    damaged = picture.copy()
    damaged[36:50, 10:30] = 1.0
    (before, score), (after, damaged_score) = baseline.distances(picture), baseline.distances(damaged)
    assert before.shape == after.shape == (256, 256) and before.min() >= 0
    assert damaged_score > score
    inside = np.zeros((256, 256), bool)
    inside[128:178, 40:120] = True
    assert (after - before)[inside].mean() > 3 * (after - before)[~inside].mean()
    assert 0 < baseline.megabytes() < 40


def test_the_memory_knows_every_patch_that_it_was_given(good_files) -> None:
    memory = PatchMemory(patches=10**6)
    memory.fit(good_files[:1])
    assert memory.memory.patches.shape == (1024, 152)
    known, unknown = (memory.distances(read_image(file))[1] for file in good_files[:2])
    assert known < 0.05 * unknown  # not quite 0: distances are differences of large squares in float32


def test_the_reconstruction_error_is_zero_where_nothing_was_changed(tiny_pipeline, make_pictures) -> None:
    picture = make_pictures(1)[0].astype(np.float32) / 255
    repaired = tiny_pipeline(picture, output_type="np").reconstruction[0]
    distances, _ = ReconstructionError(tiny_pipeline).distances(picture)
    expected = np.abs(picture - repaired).mean()
    assert distances.mean() == pytest.approx(expected, rel=0.05)


def test_distances_may_have_another_size_for_every_picture(waves, good_files, tmp_path) -> None:
    class Darkness:
        """Answers at the picture's own size, as a pipeline of tiles does."""

        def fit(self, files: list[Path]) -> None:
            pass

        def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
            return 1 - picture.mean(axis=2), float(1 - picture.mean())

        def megabytes(self) -> float:
            return 0.0

    with Image.open(good_files[0]) as picture:
        picture.crop((0, 0, 30, 40)).save(tmp_path / "narrow.png")
    calibration = [tmp_path / "narrow.png", *good_files[:2]]
    row = baselines.measure_baseline(Darkness(), good_files, calibration, scan(waves).test, "darkness")
    assert row["calibration"]["n"] == 3 and 0 <= row["pixel_auroc"]["value"] <= 1


def test_all_methods_are_measured_alike(tiny_model_folder, waves, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        baselines, "PatchMemory", lambda seed, bit_depth: PatchMemory(100, seed=seed, bit_depth=bit_depth)
    )
    output = tmp_path / "baselines_waves"
    words = ["--data", str(waves), "--model", str(tiny_model_folder), "--output", str(output)]
    assert baselines.main(words) == 0
    report = json.loads(output.with_suffix(".json").read_text())
    assert len(report["rows"]) == 4 and report["absent"] == {}
    for name, row in report["rows"].items():
        for metric in baselines.METRICS:
            low, high = row[metric]["interval"]
            assert 0 <= low <= high <= 1, (name, metric)
        assert row["n_test"] == 10 and row["ms_per_picture"] > 0 and row["megabytes"] > 0
    assert len(output.with_suffix(".md").read_text().splitlines()) == 6
    assert 4 <= report["n_train"] < 12 and len(report["pipeline_sha256"]) == 64


def test_without_a_model_its_rows_are_absent_with_the_reason(waves, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(baselines, "PatchMemory", lambda seed, bit_depth: PixelGaussian(bit_depth))
    assert baselines.main(["--data", str(waves), "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["absent"][baselines.OURS] == "no model was given"
    assert set(report["rows"]) == {baselines.MEMORY, baselines.GAUSSIAN}


def test_a_model_that_comes_later_adds_its_rows_and_measures_nothing_again(
    tiny_model_folder, waves, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(baselines, "PatchMemory", lambda seed, bit_depth: PixelGaussian(bit_depth))
    arguments = ["--data", str(waves), "--output", str(tmp_path / "out")]
    assert baselines.main(arguments) == 0
    before = json.loads((tmp_path / "out.json").read_text())["rows"]
    monkeypatch.setattr(baselines, "PatchMemory", None)
    monkeypatch.setattr(baselines, "PixelGaussian", None)
    assert baselines.main([*arguments, "--model", str(tiny_model_folder)]) == 0
    after = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {baselines.OURS, baselines.ERROR}
