"""A picture of another part is refused; good and defective ones are not."""

import json

import numpy as np
import pytest

from diffusionad.images.tiling import TiledPicture
from diffusionad.postprocessing import familiarity
from diffusionad.postprocessing.calibration import Calibration, calibrate
from diffusionad.postprocessing.familiarity import appearance_of, learn_familiarity
from diffusionad.postprocessing.verdict import verdict_of

EVERYWHERE = np.ones((64, 64), bool)


def part(rng, defect=0):
    """Draw a bright disc with a dark spot of `defect` pixels a side, and its reconstruction without."""
    y, x = np.mgrid[:64, :64] / 63 - 0.5
    disc = np.where(y**2 + x**2 < 0.16, 0.7, 0.2) + rng.normal(0, 0.01)
    good = np.repeat(disc[..., None], 3, axis=2)
    picture = good + rng.normal(0, 0.02, good.shape)
    picture[20 : 20 + defect, 20 : 20 + defect] = 0.0
    return as_tiled(picture.clip(0, 1), good.clip(0, 1))


def as_tiled(picture, reconstruction):
    tiled = TiledPicture(np.asarray(picture, np.float32), 64)
    tiled.reconstruction = np.asarray(reconstruction, np.float32)
    return tiled


@pytest.fixture(scope="module")
def appearances():
    rng = np.random.default_rng(0)
    return [appearance_of(part(rng), EVERYWHERE) for _ in range(60)]


@pytest.fixture(scope="module")
def learned(appearances):
    return learn_familiarity(appearances)


def is_known(learned, tiled, inside=EVERYWHERE):
    return learned.judge(appearance_of(tiled, inside))[0]


def test_hardly_a_good_part_is_refused(learned):
    rng = np.random.default_rng(1)
    assert np.mean([is_known(learned, part(rng)) for _ in range(50)]) >= 0.97


def test_a_defective_part_is_still_the_part(learned):
    rng = np.random.default_rng(2)
    assert all(is_known(learned, part(rng, defect=16)) for _ in range(20))


@pytest.mark.parametrize(
    "kind", ["nearly black", "nearly white", "gray", "noise", "negative", "moved", "blurred"]
)
def test_another_picture_is_refused(learned, kind):
    rng = np.random.default_rng(3)
    tiled = part(rng)
    foreign = {
        "nearly black": rng.normal(0.02, 0.01, tiled.picture.shape),
        "nearly white": rng.normal(0.98, 0.01, tiled.picture.shape),
        "gray": rng.normal(tiled.picture.mean(), 0.02, tiled.picture.shape),
        "noise": rng.random(tiled.picture.shape),
        "negative": 1 - tiled.picture,
        "moved": np.roll(tiled.picture, (32, 32), axis=(0, 1)),
        "blurred": tiled.reconstruction,
    }[kind]
    assert is_known(learned, as_tiled(foreign.clip(0, 1), tiled.reconstruction)) is False


def test_outside_of_the_region_of_interest_anything_may_be():
    rng = np.random.default_rng(4)
    inside = np.zeros((64, 64), bool)
    inside[10:50, 10:50] = True
    learned = learn_familiarity([appearance_of(part(rng), inside) for _ in range(30)])
    tiled = part(rng)
    tiled.picture[~inside] = rng.random((~inside).sum())[:, None]
    assert is_known(learned, tiled, inside)


def test_the_promise_holds_for_statistics_of_any_distribution(monkeypatch):
    monkeypatch.setattr(familiarity, "SPREAD_MARGIN", 1.0)  # it only makes refusals rarer
    rng = np.random.default_rng(5)
    refused = []
    for _ in range(40):
        learned = learn_familiarity(rng.standard_cauchy((20, 71)))
        refused.append(np.mean([not learned.judge(x)[0] for x in rng.standard_cauchy((40, 71))]))
    assert np.mean(refused) <= learned.rate == 1 / 21


def test_with_few_pictures_every_picture_is_known(appearances):
    assert learn_familiarity(appearances[:19]) is None
    verdict = verdict_of(
        False, 0.1, 0.5, calibrate([0.1] * 19, None, None, appearances[:19]), 0, appearances[0]
    )
    assert verdict.is_known is None and verdict.word == "good"


def test_a_model_that_has_got_a_statistic_since_knows_every_picture(learned, appearances):
    assert learned.judge(np.append(appearances[0], 0.1)) == (None, None)


def test_it_is_stored_with_the_calibration(learned, appearances):
    calibration = calibrate(np.linspace(0.1, 0.2, 60), appearances=appearances)
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration and again.familiarity == learned


def test_a_calibration_without_it_is_stored_as_before():
    assert "familiarity" not in calibrate([0.1, 0.2]).to_dict()


@pytest.mark.parametrize(
    ("field", "value"),
    [("low", [0.0]), ("low", [1e5] * 71), ("high", [0.0] * 72), ("spread", [0.0] * 71), ("rate", 1),
     ("scores", [True] * 60), ("scores", [2.0] + [1.0] * 59), ("rate", float("nan")),
     ("low", [float("nan")] * 71), ("more", 1)],
)  # fmt: skip
def test_a_damaged_one_is_refused_by_the_name_of_its_field(learned, field, value):
    values = {**calibrate([0.1, 0.2]).to_dict(), "familiarity": {**learned.to_dict(), field: value}}
    with pytest.raises(ValueError, match=r"familiarity.*calibrate again"):
        Calibration.from_dict(values)


def test_the_verdict_on_an_unknown_picture_has_a_word_of_its_own(appearances):
    calibration = calibrate(np.linspace(0.1, 0.2, 60), appearances=appearances)
    for is_anomalous in (True, False):
        verdict = verdict_of(is_anomalous, 0.9, 0.5, calibration, 0, appearances[0] + 1)
        assert verdict.word == "unknown" and str(verdict).startswith("NOT A PART I KNOW")
