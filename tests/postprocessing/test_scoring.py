"""Map -> score, mask, regions; regions against SciPy's labelling."""

import json

import numpy as np
import pytest
from scipy import ndimage

from diffusionad.postprocessing.regions import find_defects, find_regions
from diffusionad.postprocessing.roi import border_mask, decode_roi, encode_roi
from diffusionad.postprocessing.scoring import top_mean

SHAPES = [(1, 1), (1, 17), (23, 1), (8, 8), (31, 40), (64, 64)]
DENSITIES = [0.0, 0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", DENSITIES)
def test_regions_equal_scipys(shape, density):
    generator = np.random.default_rng(hash((shape, density)) % 2**32)
    for _ in range(5):
        anomaly_map = generator.random(shape, dtype=np.float32)
        mask = generator.random(shape) < density
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        expected = []
        for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            y, x = ndimage.center_of_mass(labels == label)
            peak_y, peak_x = ndimage.maximum_position(anomaly_map, labels, label)
            expected.append(
                (
                    (columns.start, rows.start, columns.stop, rows.stop),
                    int((labels == label).sum()),
                    pytest.approx((x, y)),
                    float(anomaly_map[peak_y, peak_x]),
                    (int(peak_x), int(peak_y)),
                )
            )
        expected.sort(key=lambda region: -region[3])
        kept, regions = find_regions(anomaly_map, mask)
        found = [(r.box, r.area, r.centroid, r.peak, r.peak_position) for r in regions]
        assert len(found) == count
        assert found == expected
        assert (kept == mask).all() and kept is not mask


def test_shapes_that_join_late_are_one_region():
    mask = np.array(
        [
            [1, 0, 1, 0, 1, 0, 0],
            [1, 0, 1, 0, 1, 0, 1],
            [1, 0, 1, 1, 1, 0, 0],
            [0, 1, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 1, 0],
        ],
        dtype=bool,
    )
    _, regions = find_regions(mask.astype(np.float32), mask)
    assert sorted(region.area for region in regions) == [1, 2, 11]


def test_small_regions_leave_the_mask_and_the_list():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:5, 2:5] = True  # 9 pixels
    mask[10:12, 10:12] = True  # 4 pixels
    kept, regions = find_regions(np.ones((20, 20), np.float32), mask, min_area=5)
    assert [region.area for region in regions] == [9]
    assert kept.sum() == 9 and kept[2:5, 2:5].all()
    kept, regions = find_regions(np.ones((20, 20), np.float32), mask, min_area=9)
    assert len(regions) == 1
    kept, regions = find_regions(np.ones((20, 20), np.float32), mask, min_area=10)
    assert regions == [] and not kept.any()


def test_regions_are_plain_python_numbers():
    mask = np.ones((4, 4), dtype=bool)
    _, [region] = find_regions(np.random.default_rng(0).random((4, 4), dtype=np.float32), mask)
    json.dumps(vars(region))


@pytest.mark.parametrize("top_fraction", [0.0, 1e-9, 0.01, 50 / 256**2, 0.3, 1.0])
def test_top_mean_is_the_mean_of_the_largest_pixels(top_fraction):
    anomaly_map = np.random.default_rng(0).random((50, 50), dtype=np.float32)
    k = max(1, round(top_fraction * 2500))
    expected = sorted(anomaly_map.ravel().tolist(), reverse=True)[:k]
    assert top_mean(anomaly_map, top_fraction) == pytest.approx(sum(expected) / k, abs=1e-12)


def test_top_mean_takes_fifty_pixels_of_the_papers_map():
    anomaly_map = np.zeros((256, 256), np.float32)
    anomaly_map.ravel()[:50] = 1
    assert top_mean(anomaly_map, 50 / 256**2) == 1
    anomaly_map.ravel()[0] = 0
    assert top_mean(anomaly_map, 50 / 256**2) == 0.98


def test_top_mean_does_not_depend_on_where_the_pixels_are():
    generator = np.random.default_rng(0)
    values = generator.random(4096, dtype=np.float32)
    scores = {top_mean(generator.permutation(values).reshape(64, 64), 0.05) for _ in range(20)}
    assert len(scores) == 1


def test_top_mean_looks_inside_only_and_counts_the_share_of_the_whole_map():
    anomaly_map = np.full((10, 10), 0.9, np.float32)
    inside = np.zeros((10, 10), dtype=bool)
    inside[0, :4] = True
    anomaly_map[0, :4] = [0.1, 0.2, 0.3, 0.4]
    assert top_mean(anomaly_map, 0.02, inside) == pytest.approx(0.35)  # k = 2 of 100
    assert top_mean(anomaly_map, 0.5, inside) == pytest.approx(0.25)  # k = 50, only 4 there


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", DENSITIES)
def test_roi_survives_its_run_lengths(shape, density):
    roi = np.random.default_rng(1).random(shape) < density
    rle = json.loads(json.dumps(encode_roi(roi)))
    assert sum(rle["counts"]) == roi.size
    np.testing.assert_array_equal(decode_roi(rle), roi)


def test_roi_run_lengths_are_cocos():
    roi = np.array([[0, 1], [1, 1]], dtype=bool)
    assert encode_roi(roi) == {"size": [2, 2], "counts": [1, 3]}  # down the columns, zeros first
    assert encode_roi(~roi) == {"size": [2, 2], "counts": [0, 1, 3]}


@pytest.mark.parametrize("width", [0, 1, 3])
def test_border_mask_leaves_out_the_border(width):
    inside = border_mask((8, 9), width)
    assert inside.sum() == (8 - 2 * width) * (9 - 2 * width)
    assert inside[width, width] and inside[7 - width, 8 - width]
    assert width == 0 or not (inside[width - 1].any() or inside[:, 9 - width].any())


def test_crumbs_of_one_defect_are_one_region_and_specks_are_left_out():
    anomaly_map = np.zeros((256, 256), np.float32)
    anomaly_map[100:130:3, 100:102] = 0.8  # ten crumbs along a scratch
    anomaly_map[20, 20] = 0.7  # a speck
    mask, [scratch] = find_defects(anomaly_map, 0.5)
    assert scratch.box == (100, 100, 102, 128) and scratch.area == mask.sum() == 20
    _, regions = find_defects(anomaly_map, 0.5, min_area=1)
    assert [region.area for region in regions] == [20, 1]


def test_the_highest_peak_is_a_region_however_small():
    anomaly_map = np.zeros((256, 256), np.float32)
    anomaly_map[100:120, 100:120] = 0.6
    anomaly_map[20, 20] = 0.9
    assert [region.area for region in find_defects(anomaly_map, 0.5)[1]] == [1, 400]
    assert find_defects(anomaly_map, 0.95)[1] == []
