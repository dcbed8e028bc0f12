"""The result of one picture, and the part as it should look."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from diffusionad.postprocessing.repair import repair


@pytest.fixture(scope="module")
def pictures(make_pictures) -> list[np.ndarray]:
    return make_pictures(2) + make_pictures(1, side=90, seed=1)


@pytest.fixture(scope="module")
def result(tiny_pipeline, pictures):
    scores = np.sort(tiny_pipeline(pictures).score)
    return tiny_pipeline(pictures, threshold=float(scores[0]))  # one good, two defective


def test_a_place_gives_everything_about_one_picture(result, pictures):
    assert len(result) == 3 and [one.score for one in result] == result.score.tolist()
    last = result[-1]
    np.testing.assert_array_equal(np.asarray(last.picture), pictures[2])
    assert last.anomaly_map is result.anomaly_map[2] and last.regions is result.regions[2]
    assert last.p_value == result.p_value[2] and last.is_anomalous == result.is_anomalous[2]
    assert [one.score for one in result[1:]] == result.score[1:].tolist()
    with pytest.raises(IndexError):
        result[3]


def test_a_name_still_gives_a_field_of_all_pictures(result):
    assert result["score"] is result.score and "score" in result
    assert next(iter(result.keys())) == "anomaly_map" and dict(result)["mask"] is result.mask
    for same in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        np.testing.assert_array_equal(same.score, result.score)
        assert len(same) == 3


def test_a_repr_is_one_short_line(result, tiny_pipeline):
    assert repr(result).startswith("DiffusionADOutput(3 pictures: ")
    assert "2 defective" in repr(result) and "1 good" in repr(result)
    for text in (repr(result), repr(result[0]), repr(tiny_pipeline)):
        assert "\n" not in text and len(text) < 250
    assert "category='noise'" in repr(tiny_pipeline) and "64 x 64" in repr(tiny_pipeline)


def test_a_result_is_plain_json(result):
    values = json.loads(json.dumps(result.to_dict()))
    assert [value["verdict"] for value in values["results"]] == [one.verdict.word for one in result]
    assert values["results"][2]["width"] == 90 and values["timings"]["total"] > 0


def test_a_notebook_shows_the_panel_that_is_saved(result, tmp_path):
    result[0].save(tmp_path / "panel.png")
    saved = Image.open(tmp_path / "panel.png").convert("RGB")
    assert saved.tobytes() == result[0].panel().tobytes()
    assert result[0]._repr_png_().startswith(b"\x89PNG")
    assert result._repr_html_().count("<img alt=") == 3


def test_a_good_part_is_its_own_repair(result, pictures):
    good = next(one for one in result if not one.is_anomalous)
    assert good.repaired is good.picture
    assert [image.size for image in result.repaired] == [(64, 64), (64, 64), (90, 90)]


@pytest.mark.parametrize("output_type", ["np", "pt"])
def test_the_repair_does_not_depend_on_the_output_type(tiny_pipeline, pictures, output_type):
    as_pil = tiny_pipeline(pictures, threshold=0.0)[2].repaired
    other = tiny_pipeline(pictures, threshold=0.0, output_type=output_type)[2].repaired
    assert as_pil.tobytes() == other.tobytes()


def test_a_repair_replaces_the_region_and_keeps_the_grain_elsewhere():
    rng = np.random.default_rng(0)
    grain = Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8))
    anomaly_map = np.zeros((256, 256), np.float32)
    anomaly_map[100:120, 100:120] = 0.9
    anomaly_map[200:204, 200:204] = 0.3  # faint, and far from the region
    repaired = np.asarray(
        repair(grain, Image.new("RGB", (64, 64), (9, 9, 9)), anomaly_map, anomaly_map > 0.5, 0.5)
    )
    assert (repaired[100:120, 100:120] == 9).all()
    changed = (repaired != np.asarray(grain)).any(axis=2)
    changed[90:130, 90:130] = False
    assert not changed.any()


def test_a_defect_without_a_region_is_repaired_at_its_peak():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[30, 40] = 0.2
    white, black = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64))
    repaired = np.asarray(repair(white, black, anomaly_map, anomaly_map > 0.5, 0.5))
    assert repaired[30, 40].max() < 128 and (repaired[:10] == 255).all()


def test_a_picture_that_is_not_known_is_neither_good_nor_repaired(result):
    defective = result[-1]
    verdict = dataclasses.replace(defective.verdict, is_known=False, familiarity_p_value=0.01)
    unknown = dataclasses.replace(defective, verdict=verdict)
    assert unknown.repaired is unknown.picture and "NOT A PART I KNOW" in repr(unknown)
    assert (unknown.to_dict()["verdict"], unknown.to_dict()["is_known"]) == ("unknown", False)
    # No tile says what it should look like.
    assert unknown.panel().width < defective.panel().width
