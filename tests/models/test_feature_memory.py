"""The memory of good parts in pretrained features."""

import numpy as np
import pytest
import torch

from diffusionad.images.tiling import TiledPicture
from diffusionad.models.efficientnet_lite0 import channels_of, load_lite0
from diffusionad.models.feature_memory import FeatureMemory, greedy_coreset
from diffusionad.postprocessing.fusion import in_units, to_logit


@pytest.fixture(scope="module")
def memory(make_pictures) -> FeatureMemory:
    """A memory of one picture of 64 x 64 pixels."""
    memory = FeatureMemory.with_pretrained_features(shorter_side=64)
    memory.patches = memory.describe(_tensor(make_pictures(1)[0]))[0].flatten(1).T
    return memory


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture / np.float32(255)).permute(2, 0, 1)[None]


def test_a_patch_is_described_by_the_blocks_that_are_named(memory):
    assert memory.patches.shape == (64, channels_of(4) + channels_of(10)) == (64, 40 + 112)
    other = FeatureMemory.with_pretrained_features(blocks=(2, 7))
    assert other.describe(torch.zeros(1, 3, 96, 64)).shape == (1, 24 + 80, 24, 16)


def test_features_are_those_of_the_whole_network(memory, make_pictures):
    x = _tensor(make_pictures(1, seed=3)[0])
    for ours, theirs in zip(
        memory.backbone.features(x, (4, 10)), load_lite0().features(x, (4, 10)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_known_patch_is_near_and_a_foreign_one_far(memory, make_pictures):
    picture = make_pictures(1)[0]
    damaged = picture.copy()
    damaged[24:40, 24:40] = 255
    known, odd = memory(_tensor(picture)), memory(_tensor(damaged))
    assert known.shape == odd.shape == (8, 8) and known.max() < 0.05 * odd.max()
    assert divmod(int(odd.argmax()), 8) in {(y, x) for y in (3, 4) for x in (3, 4)}


def test_distances_come_at_the_size_that_is_asked_for(memory, make_pictures):
    view = make_pictures(1)[0] / np.float32(255)
    distances = memory.distances(view, (128, 160))
    assert distances.shape == (128, 160) and distances.dtype == np.float32 and distances.min() >= 0


def test_pictures_keep_their_shape_at_the_size_of_the_memory():
    memory = FeatureMemory(shorter_side=256)
    assert memory.size_of((512, 1024)) == (256, 512) and memory.size_of((100, 50)) == (512, 256)
    assert memory.size_of((230, 630)) == (256, 704)  # multiples of 16


def test_a_long_strip_is_seen_smaller_and_not_in_full():
    height, width = FeatureMemory(shorter_side=512).size_of((1000, 300_000))
    assert height * width == pytest.approx(4e6, rel=0.05) and width / height == pytest.approx(300, rel=0.05)


def fused(memory: FeatureMemory, **changed) -> np.ndarray:
    """Fuse maps that are all 1 in units of good parts, but for those that are changed."""
    tiled = TiledPicture(np.full((64, 64, 3), 0.5, np.float32), 64)
    tiled.anomaly_map = np.full((64, 64), changed.get("p", 0.5), np.float32)
    tiled.reconstruction = tiled.picture + np.float32(changed.get("residual", 0.25))
    memory.distances = lambda view, size: np.full(size, changed.get("distance", 3.0), np.float32)
    return memory.fuse(tiled, tiled.picture)


def test_a_fused_map_rises_with_each_map_and_stays_in_range():
    units = {"distance_range": (1.0, 3.0), "segmenter_range": (-4.0, 0.0), "residual_range": (0.0, 0.25)}
    memory = FeatureMemory(**units)
    assert fused(memory) == pytest.approx(0.5)  # one unit each, as high as good parts peak
    for more in ({"p": 0.9}, {"distance": 6.0}, {"residual": 0.5}):
        assert fused(memory, **more).min() > 0.51
    lowest = fused(memory, p=0.0, distance=0.0, residual=0.0)
    highest = fused(memory, p=1.0, distance=1e6, residual=0.5)
    assert lowest.max() == 0 and highest.min() > 0.99 and highest.max() <= 1 and highest.dtype == np.float32


@pytest.mark.parametrize(
    ("weights", "counts"),
    [((1, 0, 0), {"distance": 6.0}), ((0, 1, 0), {"p": 0.9}), ((0, 0, 1), {"residual": 0.4})],
)
def test_weights_decide_what_counts(weights, counts):
    memory, alone = FeatureMemory(weights=(1, 1, 1)), FeatureMemory(weights=weights)
    for more in ({"distance": 6.0}, {"p": 0.9}, {"residual": 0.4}):
        assert (fused(alone, **more) > fused(alone)).all() == (more == counts)
        assert (fused(memory, **more) > fused(memory)).all()


def test_units_and_logits():
    assert in_units(np.array([0.0, 2.0, 4.0]), (2.0, 4.0)).tolist() == [0, 0, 1]
    assert to_logit(np.array([0.0, 0.5, 1.0])).tolist() == [-12, 0, 12]


def test_the_coreset_takes_the_farthest_point_next():
    points = torch.tensor([[0.0, 0], [0.1, 0], [10, 0], [10.1, 0], [0, 30]])
    chosen = greedy_coreset(points, 3, torch.Generator().manual_seed(0)).tolist()
    assert 4 in chosen and len({*chosen} & {0, 1}) == 1 and len({*chosen} & {2, 3}) == 1
    assert sorted(greedy_coreset(points, 99, torch.Generator().manual_seed(0)).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": (10, 4)},
        {"blocks": (99,)},
        {"blocks": ()},
        {"shorter_side": 1},
        {"num_patches": 10**7},
        {"neighbourhood": 2},
        {"distance_range": (1.0, 1.0)},
        {"segmenter_range": (0.0, float("nan"))},
        {"residual_range": (1.0,)},
        {"weights": (0.5, 0.5)},
        {"weights": (0, 0, 0)},
        {"weights": (1, -1, 1)},
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` is"):
        FeatureMemory(**wrong)
