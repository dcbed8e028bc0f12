"""The promise about false alarms, checked by simulation, and the exact order statistic behind it."""

import json

import numpy as np
import pytest

from diffusionad.postprocessing.calibration import MAX_STORED_SCORES, Calibration, calibrate

SPLITS = 3000

# Distributions on [0, 1] with their survival functions P(score > threshold).
DISTRIBUTIONS = {
    "uniform": (lambda rng, n: rng.random(n), lambda x: 1 - x),
    "skewed": (lambda rng, n: rng.random(n) ** 8, lambda x: 1 - x ** (1 / 8)),
    "ties": (lambda rng, n: rng.integers(0, 5, n) / 4, lambda x: 1 - (np.floor(x * 4) + 1) / 5),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (99, 0.05), (99, 0.01), (300, 0.05), (300, 0.01)])
def test_the_promised_false_alarm_rate_holds_on_average(n, rate, name):
    draw, survival = DISTRIBUTIONS[name]
    generator = np.random.default_rng(n)
    rates = np.array([survival(calibrate(draw(generator, n), rate).threshold) for _ in range(SPLITS)])
    standard_error = rates.std() / SPLITS**0.5
    assert rates.mean() <= rate + 3 * standard_error
    if name != "ties":  # and it is no idle promise: it is nearly used up
        assert rates.mean() >= rate - 1 / (n + 1) - 3 * standard_error


@pytest.mark.parametrize(
    ("n", "rate", "k"),
    [
        (20, 0.05, 20),
        (99, 0.05, 95),
        (99, 0.01, 99),
        (300, 0.05, 286),
        (300, 0.01, 298),
        (40, None, 40),
        (9, 0.1, 9),
    ],
)
def test_the_threshold_is_the_kth_smallest_score(n, rate, k):
    scores = np.random.default_rng(0).permutation(np.arange(1, n + 1)) / 1000
    assert calibrate(scores, rate).threshold == k / 1000


@pytest.mark.parametrize("n", [1, 2, 19, 40, 98, 99, 100, 299])
def test_the_smallest_rate_that_n_supports_can_be_promised(n):
    scores = np.arange(1, n + 1) / n
    assert calibrate(scores, 1 / (n + 1)).threshold == 1
    assert calibrate(scores).rate == max(0.01, 1 / (n + 1))


@pytest.mark.parametrize(
    ("n", "rate", "best", "needed"),
    [(20, 0.01, "0.04762", 99), (98, 0.01, "0.0101", 99), (99, 0.001, "0.01", 999)],
)
def test_a_rate_that_n_cannot_support_names_the_smallest_and_the_number_needed(n, rate, best, needed):
    with pytest.raises(ValueError, match=rf"`rate` is {rate:g}.*{n} good.*{best} at best.*least {needed} "):
        calibrate(np.linspace(0, 1, n), rate)
    calibrate(np.linspace(0, 1, needed), rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"`rate` is .*between 0 and 1"):
        calibrate(np.linspace(0, 1, 200), rate)


@pytest.mark.parametrize(
    ("scores", "words"), [([], "`scores` is empty"), ([0.1, float("nan"), float("inf")], "2 NaN or infinite")]
)
def test_scores_that_cannot_calibrate_are_refused(scores, words):
    with pytest.raises(ValueError, match=words):
        calibrate(scores)


@pytest.mark.parametrize("n", [20, 300, 2500])
def test_p_values_of_normal_pictures_are_uniform(n):
    generator = np.random.default_rng(n)
    p = np.concatenate(
        [calibrate(generator.random(n)).p_values(generator.random(50)) for _ in range(SPLITS // 10)]
    )
    for alpha in (0.05, 0.1, 0.25, 0.5, 0.75):
        tolerance = 4 * (alpha * (1 - alpha) / n / (SPLITS // 10) + alpha * (1 - alpha) / len(p)) ** 0.5
        share = (p <= alpha).mean()
        assert share <= alpha + tolerance, "not valid"
        assert share >= alpha - 1 / (n + 1) - tolerance, "needlessly conservative"


def test_p_values_are_exact_and_count_ties():
    calibration = calibrate([0.1, 0.2, 0.2, 0.4], rate=0.2)
    p = calibration.p_values(np.array([0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]))
    np.testing.assert_array_equal(p, np.array([5, 5, 4, 4, 2, 2, 1]) / 5)


@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (99, 0.01), (300, 0.05), (1000, 0.002), (1000, 0.01)])
def test_above_the_threshold_means_a_p_value_of_at_most_the_rate(n, rate):
    generator = np.random.default_rng(0)
    for scores in (generator.random(n), generator.integers(0, 10, n) / 10):
        calibration = calibrate(scores, rate)
        new = np.concatenate([generator.random(500), scores, scores + 1e-9])
        p = calibration.p_values(new)
        assert (p[new > calibration.threshold] <= rate + 1e-12).all()
        assert 1 / (n + 1) <= p.min() and p.max() <= 1


def test_ties_at_the_threshold_raise_no_alarm():
    calibration = calibrate([0.5] * 99, rate=0.01)
    assert calibration.threshold == 0.5
    assert calibration.p_values(np.array([0.5])) == 1


def test_calibration_survives_json():
    calibration = calibrate(np.random.default_rng(0).random(50))
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    assert list(again.scores) == sorted(again.scores) and again.n == 50


WRONG_FIELDS = [
    ("scores", [0.3, 0.2, 0.1]),
    ("scores", [0.1, float("nan"), 0.3]),
    ("scores", [0.1, 0.2, float("inf")]),
    ("scores", [-0.1, 0.2]),
    ("scores", [0.1, 10**400]),
    ("scores", ["0.1", "0.2"]),
    ("scores", [True]),
    ("scores", []),
    ("scores", "0.1"),
    ("scores", None),
    ("n", 2),
    ("n", -999),
    ("n", 10**400),
    ("n", 3.0),
    ("n", "<img src=x onerror=alert(1)>"),
    ("n", True),
    ("rate", 0),
    ("rate", 1),
    ("rate", 5),
    ("rate", float("nan")),
    ("rate", "0.01"),
    ("threshold", 1.5),
    ("threshold", float("nan")),
    ("threshold", None),
    ("threshold", [0.5]),
    ("pixel_threshold", -1),
    ("pixel_threshold", "0.5"),
    ("date", 20241231),
    ("date", None),
    ("date", "x" * 10_000),
]


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS, ids=lambda value: str(value)[:20])
def test_a_stored_field_that_no_calibration_has_is_named(field, value):
    stored = calibrate([0.1, 0.2, 0.3]).to_dict()
    assert Calibration.from_dict(stored).n == 3
    with pytest.raises(
        ValueError, match=rf"`calibration\.{field}` is .*; it must be .*calibrate again"
    ) as caught:
        Calibration.from_dict({**stored, field: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stored: stored.pop("n"), "`calibration` lacks 'n'"),
        (lambda stored: stored.update(more=1), "`calibration` does not know 'more'"),
    ],
)
def test_a_stored_calibration_has_all_fields_and_no_others(change, words):
    stored = calibrate([0.1, 0.2, 0.3]).to_dict()
    change(stored)
    with pytest.raises(ValueError, match=words):
        Calibration.from_dict(stored)


@pytest.mark.parametrize("stored", [None, [], "x", 3])
def test_a_stored_calibration_is_an_object(stored):
    with pytest.raises(ValueError, match=r"`calibration` is .*; give `Calibration\.to_dict\(\)`"):
        Calibration.from_dict(stored)


def test_many_scores_are_stored_as_quantiles():
    scores = np.random.default_rng(0).random(5000)
    calibration = calibrate(scores, 0.01)
    assert calibration.n == 5000 and len(calibration.scores) == MAX_STORED_SCORES
    assert calibration.threshold == np.sort(scores)[4950]  # k = ceil(5001 * 0.99) = 4951
    assert (calibration.scores[0], calibration.scores[-1]) == (scores.min(), scores.max())
    assert set(calibration.scores) <= set(scores)


def test_no_p_value_contradicts_the_verdict_however_few_scores_are_stored():
    scores = np.random.default_rng(0).random(5000)
    calibration = calibrate(scores, 0.0005)  # finer than 1 of 1000 stored ones
    above = np.nextafter(calibration.threshold, 2)
    assert calibration.p_values(np.array([above, 1.0])).max() <= 0.0005
    assert calibration.p_values(np.array([calibration.threshold]))[0] > 0.0005


@pytest.mark.parametrize(("n", "rate"), [(20, 0.05), (99, 0.01), (300, 0.05)])
def test_no_pixel_of_a_normal_picture_is_marked_but_in_the_promised_share_of_them(n, rate):
    generator = np.random.default_rng(n)
    marked = []
    for _ in range(400):
        # Pixels of one picture are alike: only whole pictures are independent of each other.
        maps = generator.random((n + 60, 1, 1)) ** 3 * generator.random((n + 60, 5, 5))
        peaks = maps.max(axis=(1, 2))
        threshold = calibrate(maps.mean(axis=(1, 2))[:n], rate, peaks[:n]).pixel_threshold
        marked.append((maps[n:] > threshold).any(axis=(1, 2)).mean())
    standard_error = np.std(marked) / len(marked) ** 0.5
    assert rate - 1 / (n + 1) - 3 * standard_error <= np.mean(marked) <= rate + 3 * standard_error


def test_the_pixel_threshold_holds_at_its_own_threshold_alone():
    calibration = calibrate([0.1, 0.2, 0.3], 0.25, peaks=[0.4, 0.6, 0.5])
    assert (calibration.threshold, calibration.pixel_threshold) == (0.3, 0.6)
    assert calibration.pixel_threshold_at(0.3) == 0.6
    assert calibration.pixel_threshold_at(0.31) == 0.31
    assert calibrate([0.1, 0.2, 0.3], 0.25).pixel_threshold_at(0.3) == 0.3


@pytest.mark.parametrize(
    ("peaks", "words"), [([0.1], "`peaks` has 1 values for 3 scores"), ([1, np.nan, 1], "`peaks` has 1 NaN")]
)
def test_peaks_that_do_not_fit_the_scores_are_refused(peaks, words):
    with pytest.raises(ValueError, match=words):
        calibrate([0.1, 0.2, 0.3], peaks=peaks)


def test_fewer_than_20_pictures_work_with_a_wider_promise_and_a_warning(caplog):
    assert calibrate(np.linspace(0, 1, 19)).rate == pytest.approx(0.05)
    assert "Only 19 good pictures: no false-alarm rate below 5 % can be promised" in caplog.text
    caplog.clear()
    calibrate(np.linspace(0, 1, 20))
    assert caplog.records == []
