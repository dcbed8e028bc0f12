"""A certificate against real defects: what is measured of a defect, and what is predicted of it."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from training.certificate.graded import Grade, paste
from training.studies.certificate import defects_of, main, predicted

CERTIFICATE = {
    "defects": 100,
    "families": [
        {
            "shape": shape,
            "tone": tone,
            "fit": {"intercept": -11.0, "log2_size": 2.0, "log2_levels": 1.5},
        }
        for shape in ("dots", "scratches")
        for tone in ("dark", "light")
    ],
}
GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.mark.parametrize("levels", [-40, 12])
def test_a_pasted_dot_measures_as_it_was_pasted(levels):
    picture, mask = paste(GREY, Grade("dots", 9, levels), (30, 30))
    [defect] = defects_of(picture / 255, mask)
    assert defect.diameter == pytest.approx(9, abs=0.7) and not defect.is_long
    assert defect.contrast == pytest.approx({"mean": levels, "strongest": levels})


def test_a_pasted_scratch_is_long_and_two_defects_are_two():
    picture, first = paste(GREY, Grade("scratches", 20, 30), (20, 20), angle=0.5)
    picture, second = paste(picture, Grade("dots", 5, -30), (50, 50))
    scratch, dot = sorted(defects_of(picture / 255, first | second), key=lambda d: -d.length)
    assert scratch.is_long and scratch.length == pytest.approx(20, abs=2)
    assert dot.contrast["mean"] == pytest.approx(-30)


def test_the_prediction_is_that_of_the_fit_and_a_scratch_counts_by_its_length():
    dot = defects_of(*_pasted(Grade("dots", 8, 32)))[0]
    rate = 1 / (1 + math.exp(11 - 2 * math.log2(dot.diameter) - 1.5 * 5))
    assert predicted(CERTIFICATE, dot, "mean") == pytest.approx(rate)
    scratch = defects_of(*_pasted(Grade("scratches", 20, 32)))[0]
    assert predicted(CERTIFICATE, scratch, "mean") > predicted(CERTIFICATE, dot, "mean")


def _pasted(grade: Grade) -> tuple[np.ndarray, np.ndarray]:
    picture, mask = paste(GREY, grade, (32, 32))
    return picture / 255, mask


def test_the_study_compares_predictions_with_the_verdicts_of_the_run(tmp_path):
    rows = []
    for i, (size, levels) in enumerate([(12, 90), (12, 60), (2, 4), (3, 5)]):
        pixels, mask = paste(GREY, Grade("dots", size, levels), (32, 32))
        for folder, image in (("test/pit", pixels), ("ground_truth/pit", 255 * mask.astype(np.uint8))):
            name = f"{i}_mask.png" if folder.startswith("ground") else f"{i}.png"
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "data" / folder / name)
        rows.append({"file": f"pit/{i}.png", "is_anomalous": size > 5})
    for folder in ("train/good", "test/good"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.fromarray(GREY).save(tmp_path / "data" / folder / "0.png")
    arguments = [tmp_path, "--data", tmp_path / "data", "--certificate", tmp_path, "--output", tmp_path / "a"]
    assert main([str(argument) for argument in arguments]) == 2  # neither scores nor certificate
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "is_anomalous"])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "certificate.json").write_text(json.dumps(CERTIFICATE))
    assert main([str(argument) for argument in arguments]) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["found"] == 0.5 and result["readings"]["mean"]["ranks"] == 1
    assert [row["pictures"] for row in result["readings"]["mean"]["bins"]] == [2, 0, 2]
    assert "50% of 4 defective pictures" in (tmp_path / "a.md").read_text()
