"""A student learns from a teacher, and is a pipeline like any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import SMALL, arguments, write_squares

from diffusionad import DiffusionADPipeline
from training.config.loader import load_config
from training.distill import main as distill
from training.run_folder import checkpoints, read_log
from training.train import main as train
from training.trainer.distillation import load_teacher
from training.trainer.networks import build_networks, build_pipeline

STUDENT = [
    "model.patch_size=2",
    "model.unet_channels=[8, 16]",
    "model.unet_attention_sizes=[]",
    "model.segmenter_stem_patch=1",
    "optim.batch_size=2",
    "optim.segmenter_batch_size=2",
    "optim.buffer_size=4",
    "optim.precision=no",
    "log.checkpoint_steps=2",
    "log.validations=1",
]


def words(teacher: Path, output: Path, *more: str) -> list[str]:
    sets = [part for setting in STUDENT for part in ("--set", setting)]
    return [str(teacher), "--output", str(output), *sets, *more]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_squares(tmp_path_factory.mktemp("data") / "squares")
    output = tmp_path_factory.mktemp("runs") / "teacher"
    assert train(arguments(data, output, "--max-steps", "2")) == 0
    return output


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "student"
    assert distill(words(teacher, output, "--max-steps", "4")) == 0
    return output


def test_a_student_is_calibrated_tested_and_compared_with_its_teacher(teacher, student) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(student / "pipeline")
    assert pipeline.config.denoising == "distilled" and pipeline.config.calibration is not None
    compared = json.loads((student / "metrics.json").read_text())["distillation"]
    of_teacher = json.loads((teacher / "metrics.json").read_text())
    assert compared["teacher_sha256"] == of_teacher["pipeline_sha256"]
    assert compared["teacher"]["image_auroc"] == of_teacher["image_auroc"]["value"]
    assert compared["student"]["cpu_ms_per_picture"] > 0
    assert 0 <= compared["student"]["without_reconstruction"]["image_auroc"] <= 1
    losses = read_log(student / "log.jsonl")[-1]
    assert losses.keys() >= {"reconstruction", "segmentation", "map"}


def test_a_student_resumes_bit_for_bit_where_its_teacher_lies_by_now(teacher, student, tmp_path) -> None:
    output, moved = tmp_path / "student", tmp_path / "teacher"
    shutil.copytree(student, output)
    shutil.copytree(teacher, moved)
    shutil.rmtree(output / "checkpoint-4")
    (output / "metrics.json").unlink()
    assert distill(words(moved, output, "--max-steps", "4", "--resume")) == 0
    whole, resumed = (
        torch.load(checkpoints(run)[-1] / "state.pt", weights_only=True) for run in (student, output)
    )
    for network in ("ema_unet", "ema_segmenter"):
        assert all(torch.equal(whole[network][n], resumed[network][n]) for n in whole[network])


def test_a_student_goes_on_with_no_other_teacher(teacher, student, tmp_path, capsys) -> None:
    other = shutil.copytree(teacher, tmp_path / "teacher")
    settings = json.loads((other / "pipeline/model_index.json").read_text())
    (other / "pipeline/model_index.json").write_text(json.dumps({**settings, "guidance_weight": 0.5}))
    assert distill(words(other, student, "--max-steps", "4", "--resume")) == 2
    assert "distillation.teacher_sha256 was" in capsys.readouterr().err


def test_it_says_the_same_alone_and_in_a_batch_and_its_noise_matters(student, make_pictures) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(student / "pipeline")
    pictures = make_pictures(3, side=32)
    together = pipeline(pictures)
    assert pipeline(pictures[1]).score[0] == together.score[1]
    other_noise = pipeline(pictures, generator=torch.Generator().manual_seed(5))
    assert not np.array_equal(other_noise.score, together.score)


@pytest.mark.parametrize(
    "setting",
    [
        {"t_coarse": 350},
        {"guidance_weight": 0.5},
        {"num_noise_samples": 2},
        {"num_inference_steps": 5},
        {"t_fine": 90},
    ],
)
def test_what_a_student_has_learnt_cannot_be_set(student, setting, make_pictures) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(student / "pipeline")
    [name] = setting
    with pytest.raises(ValueError, match=f"`{name}`.*distilled"):
        pipeline(make_pictures(1, side=32), **setting)
    with pytest.raises(ValueError, match=f"`{name}`.*distilled"):
        pipeline.configure(**setting)
    pipeline(make_pictures(1, side=32), **{name: pipeline.config[name]})  # as the page does


def test_how_a_model_denoises_cannot_be_renamed(student, teacher) -> None:
    for folder, other in ((student, "guided"), (teacher, "distilled")):
        pipeline = DiffusionADPipeline.from_pretrained(folder / "pipeline")
        with pytest.raises(ValueError, match=r"`denoising`.*have learnt"):
            pipeline.configure(denoising=other)


def test_the_steps_of_a_student_are_one_noised_picture_and_its_repair(student, make_pictures) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(student / "pipeline")
    picture = make_pictures(1, side=32)[0]
    steps = pipeline.intermediates(picture)
    assert steps.x_t_coarse is None and steps.x_0_fine is None and steps.x_t_fine.shape == (32, 32, 3)
    assert np.array_equal(steps.x_0_hat, np.asarray(pipeline(picture, output_type="np").reconstruction[0]))


def test_a_teacher_in_tiles_is_asked_about_squares_at_the_scale_of_its_pictures(tmp_path) -> None:
    tiles = [s for s in SMALL if not s.startswith(("data.resize_mode", "data.shorter_side"))]
    config = load_config("tiny", [*tiles, "data.shorter_side=64"])
    build_pipeline(config, "squares", *build_networks(config)).save_pretrained(tmp_path / "teacher")
    config = load_config("tiny", [*tiles, f"distillation.teacher={tmp_path / 'teacher'}"])
    pipeline = load_teacher(config)
    said = pipeline(np.zeros((48, 48, 3), np.float32), output_type="np")  # a crop may show nothing
    assert said.reconstruction[0].shape == (48, 48, 3) and pipeline.count_tiles((48, 48)) == 4


def test_what_cannot_be_a_teacher_is_refused_in_one_sentence(teacher, student, tmp_path, capsys) -> None:
    def refusal(*given: str) -> str:
        assert distill(list(given)) == 2
        return capsys.readouterr().err

    assert "is distilled itself" in refusal(*words(student, tmp_path / "a", "--max-steps", "1"))
    assert "holds no model" in refusal(*words(tmp_path, tmp_path / "b"))
    assert "holds a run already" in refusal(*words(teacher, student))
    assert "multiple of 64" in refusal(*words(teacher, tmp_path / "c", "--set", "model.patch_size=32"))
    unfinished = shutil.copytree(teacher, tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    assert "is not finished" in refusal(*words(unfinished, tmp_path / "d"))


def test_a_student_is_not_calibrated_with_pictures_that_its_teacher_learnt(teacher, tmp_path, capsys) -> None:
    assert distill(words(teacher, tmp_path / "student", "--max-steps", "1", "--seed", "7")) == 2
    assert "the teacher" in capsys.readouterr().err
    assert not (tmp_path / "student/pipeline").exists()
