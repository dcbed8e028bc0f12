"""The optional memory of marks: taught after training, saved in a folder of its own, faded from maps."""

import json
import logging

import numpy as np
import pytest
import torch
from comparing import assert_same
from safetensors.torch import load_file, save_file

from diffusionad import DiffusionADPipeline, MarkMemory, calibrate, learn_marks
from diffusionad.postprocessing.known_marks import MARKS_MAX, SIGNATURE, KnownMark


def test_a_pipeline_has_no_memory_until_it_is_taught(fresh_pipeline, make_pictures, tmp_path):
    assert fresh_pipeline.mark_memory is None
    fresh_pipeline.save_pretrained(tmp_path)
    assert not (tmp_path / "mark_memory").exists()
    assert DiffusionADPipeline.from_pretrained(tmp_path).mark_memory is None


def test_a_learnt_mark_raises_no_alarm_again(fresh_pipeline, make_pictures):
    good, other = make_pictures(2, side=64)
    before, other_before = fresh_pipeline(good), fresh_pipeline(other)
    assert before.known_marks == [[]]
    fresh_pipeline.configure(calibration=calibrate([0.1, 0.2, 0.3]))
    added = learn_marks(fresh_pipeline, good)
    assert added == fresh_pipeline.mark_memory.config.num_marks > 0
    assert fresh_pipeline.config.calibration is None

    after = fresh_pipeline(good)
    assert after.score[0] < before.score[0]
    peak = max(after.known_marks[0], key=lambda mark: mark.peak)
    assert isinstance(peak, KnownMark) and peak.similarity > 0.999 and peak.remaining_fraction == 0
    x, y = peak.position
    assert before.anomaly_map[0][y, x] == pytest.approx(peak.peak, abs=1e-6)
    assert after.anomaly_map[0][y, x] == 0
    assert (after.anomaly_map[0] <= before.anomaly_map[0]).all()
    assert fresh_pipeline(other).score[0] > 0.9 * other_before.score[0]
    fresh_pipeline.register_modules(mark_memory=None)
    assert_same(fresh_pipeline(good), before)


def test_marks_are_saved_in_their_own_folder_in_any_precision(fresh_pipeline, make_pictures, tmp_path):
    pictures = make_pictures(3, side=64)
    learn_marks(fresh_pipeline, pictures[:2])
    fresh_pipeline.save_pretrained(tmp_path)
    assert (tmp_path / "mark_memory/diffusion_pytorch_model.safetensors").is_file()
    again = DiffusionADPipeline.from_pretrained(tmp_path)
    expected = fresh_pipeline(pictures)
    assert_same(again(pictures), expected)
    assert again(pictures).known_marks == expected.known_marks
    half = DiffusionADPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(half.mark_memory.marks, fresh_pipeline.mark_memory.marks)
    without = DiffusionADPipeline.from_pretrained(tmp_path, mark_memory=None)
    assert without.mark_memory is None and without(pictures[0]).known_marks == [[]]


def test_a_model_with_marks_in_its_segmenter_gives_the_same_verdicts(
    fresh_pipeline, make_pictures, tmp_path, caplog
):
    """Models saved before 0.2 hold the marks in a buffer of the segmenter."""
    pictures = make_pictures(2, side=64)
    learn_marks(fresh_pipeline, pictures[0])
    expected = fresh_pipeline(pictures)
    marks = fresh_pipeline.mark_memory.marks
    fresh_pipeline.register_modules(mark_memory=None)
    fresh_pipeline.save_pretrained(tmp_path)
    weights = tmp_path / "segmenter/diffusion_pytorch_model.safetensors"
    save_file({**load_file(weights), "marks": marks}, weights)
    config = tmp_path / "segmenter/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "known_marks": len(marks)}))
    index = tmp_path / "model_index.json"
    entries = json.loads(index.read_text())
    del entries["mark_memory"]
    index.write_text(json.dumps({**entries, "mark_similarity": 0.85}))

    with caplog.at_level(logging.WARNING):
        old = DiffusionADPipeline.from_pretrained(tmp_path)
    assert "Save it again with `save_pretrained` into another folder" in caplog.text
    assert_same(old(pictures), expected)
    assert old(pictures).known_marks == expected.known_marks
    old.save_pretrained(tmp_path / "new")
    assert_same(DiffusionADPipeline.from_pretrained(tmp_path / "new")(pictures), expected)


def test_a_picture_of_another_size_is_compared_at_the_models(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=150)
    before = fresh_pipeline(picture)
    learn_marks(fresh_pipeline, [picture])
    after = fresh_pipeline(picture)
    assert after.score[0] < before.score[0]
    assert after.known_marks[0]
    assert all(0 <= x < 150 and 0 <= y < 150 for x, y in (mark.position for mark in after.known_marks[0]))


def test_a_known_mark_is_not_learnt_again(fresh_pipeline, make_pictures):
    pictures = make_pictures(2, side=64)
    assert learn_marks(fresh_pipeline, pictures[0]) > 0
    assert learn_marks(fresh_pipeline, pictures[0]) == 0
    assert learn_marks(fresh_pipeline, pictures) > 0
    assert learn_marks(fresh_pipeline, pictures) == 0


def test_further_views_of_a_known_mark_are_learnt(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    fresh_pipeline.register_modules(mark_memory=MarkMemory(64, similarity_threshold=0))
    fresh_pipeline.configure(num_noise_samples=2)
    first = learn_marks(fresh_pipeline, picture, num_noise_samples=1)
    assert first > 0 and learn_marks(fresh_pipeline, picture, num_noise_samples=1) == 0
    fresh_pipeline.configure(seed=1)
    assert learn_marks(fresh_pipeline, picture, num_noise_samples=1) > 0


def test_progress_is_reported_after_each_picture(fresh_pipeline, make_pictures):
    reported = []
    added = learn_marks(fresh_pipeline, make_pictures(2, side=64), report=reported.append)
    assert len(reported) == 2 and reported[-1] == added


def test_only_the_region_of_interest_is_learnt(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    corner = np.zeros((64, 64), bool)
    corner[-9:, :9] = True
    everywhere = fresh_pipeline(picture)
    in_the_corner = fresh_pipeline(picture, roi=corner)
    fresh_pipeline.configure(roi=corner)
    assert 0 < learn_marks(fresh_pipeline, picture) < 20
    assert fresh_pipeline(picture).score[0] < in_the_corner.score[0]
    assert fresh_pipeline(picture, roi=np.ones((64, 64), bool)).score[0] > 0.9 * everywhere.score[0]


def test_the_verdict_says_how_many_marks_were_left_out(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    plain = fresh_pipeline(picture)[0].verdict
    assert "mark" not in plain.details
    learn_marks(fresh_pipeline, picture)
    output = fresh_pipeline(picture)
    verdict = output[0].verdict
    assert verdict.marks_left_out == len(output.known_marks[0]) > 1
    assert verdict.details.endswith(f", {verdict.marks_left_out} known marks left out")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"similarity_threshold": 1.1}, r"`similarity_threshold` is 1\.1; give a number in 0\.\.1"),
        ({"num_marks": -1}, r"`num_marks` is -1; give an integer in 0\.\.20000"),
        ({"num_marks": MARKS_MAX + 1}, r"`num_marks` is 20001; give an integer in 0\.\.20000"),
        ({"num_marks": 10**7}, r"`num_marks` is 10000000; give an integer in 0\.\.20000"),
        ({"num_marks": "many"}, r"`num_marks` is 'many'; give an integer"),
        (
            {"image_size": 10**12},
            r"`image_size` is 1000000000000; give the pipeline's, an integer in 1\.\.65536",
        ),
        ({"similarity_threshold": float("nan")}, r"`similarity_threshold` is nan; give a number in 0\.\.1"),
        ({"image_size": 0}, r"`image_size` is 0; give the pipeline's"),
    ],
)
def test_settings_of_a_memory_have_bounds(settings, words):
    with pytest.raises(ValueError, match=words):
        MarkMemory(**settings)


def test_a_full_memory_learns_no_more():
    memory = MarkMemory(64, num_marks=MARKS_MAX - 1)
    assert memory.learn(np.ones((3, SIGNATURE), np.float32)) == 1
    assert len(memory.marks) == memory.config.num_marks == MARKS_MAX


def test_a_picture_that_cannot_be_read_keeps_what_came_before(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    fresh_pipeline.configure(calibration=calibrate([0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match=r"`image\[1\]` is a tensor"):
        learn_marks(fresh_pipeline, [picture, torch.zeros(3, 3)])
    assert fresh_pipeline.config.calibration is not None  # found before the first
    with pytest.raises(FileNotFoundError):
        learn_marks(fresh_pipeline, [picture, "nowhere.png"])
    assert fresh_pipeline.mark_memory.config.num_marks > 0
    assert fresh_pipeline.config.calibration is None
