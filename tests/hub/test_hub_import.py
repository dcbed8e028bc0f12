"""Checkpoints of the authors' released code become pipelines of ours that compute the same."""

import os
from pathlib import Path

import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from official import SMALL, Reference, Size, make_inputs
from places import GOLDEN
from safetensors.torch import load_file

from diffusionad import DiffusionADPipeline, OfficialUNet, norm_guided_one_step
from hub.import_official import main
from hub.official_checkpoint import read_checkpoint, to_pipeline

SIZES = {
    "two levels, attention at the lower": SMALL,
    "their 64 pixels, 8 heads": Size(64, 32, (1, 2, 3, 4), "16,8", segmenter_base=4, heads=8),
    "their 128 pixels' five levels, one head": Size(32, 32, (1, 1, 2, 3, 4), "8,4", 3, heads=1),
    "their 256 pixels' six levels, all but the top with attention": Size(
        32, 32, (1, 1, 2, 2, 4, 4), "16,8,4,2,1", 2, heads=2
    ),
    "heads of 16 channels, attention at the top only": Size(32, 64, (1, 2, 1), "32", 1, head_channels=16),
    "three layers, attention in the middle only": Size(32, 96, (1, 2), "4", 5, heads=3, layers=3),
}


def close(found, expected, atol: float = 1e-4) -> None:
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=0, atol=atol)


@pytest.fixture
def imported(tmp_path):
    """Function (size, **args) -> the checkpoint and the pipeline that was saved from it and loaded."""

    def run(size: Size, **args):
        checkpoint = official.write_checkpoint(tmp_path / "params.pt", size, **args)
        assert (
            main(
                [
                    "--checkpoint",
                    str(tmp_path / "params.pt"),
                    "--category",
                    "nut",
                    "--output",
                    str(tmp_path / "out"),
                ]
            )
            == 0
        )
        return checkpoint, DiffusionADPipeline.from_pretrained(tmp_path / "out")

    return run


no_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN.name} is not beside the repository")


@pytest.fixture(
    params=[official.small_reference, pytest.param(official.authors_reference, marks=no_golden)],
    ids=["our record", "the authors' outputs"],
)
def reference(request, tmp_path) -> Reference:
    """A checkpoint of the authors' format and what it computes."""
    return request.param(tmp_path)


@torch.no_grad()
def test_a_checkpoint_gives_the_recorded_outputs(reference):
    pipeline = to_pipeline(read_checkpoint(reference.checkpoint), "bottle")
    tensors = reference.tensors
    x_0, noises = tensors["x_0"], (tensors["noise_fine"], tensors["noise_coarse"])
    config = pipeline.config
    assert (config.t_fine, config.t_coarse, config.guidance_weight) == (200, 400, 1)

    close(pipeline.unet(x_0, torch.tensor([200, 200])).sample, tensors["unet_of_x_0_at_t200"])
    step = norm_guided_one_step(pipeline.unet, pipeline.scheduler, x_0, *noises, 200, 400, 1.0)
    close(step.x_0_fine.clamp(-1, 1), tensors["x_0_fine"])
    close(step.x_0_coarse, tensors["x_0_coarse"])
    close(step.x_0_hat, tensors["x_0_hat"])
    anomaly_map = pipeline.segmenter(x_0, step.x_0_hat).sigmoid()
    close(anomaly_map, tensors["segmenter_map"])
    k = round(config.top_fraction * config.image_size**2)
    assert k == 50
    close(anomaly_map.flatten(1).topk(k).values.mean(1), tensors["image_score_top50"])


@torch.no_grad()
def test_the_functions_that_other_sizes_are_held_against_give_the_recorded_outputs_too(reference):
    inputs = [reference.tensors[name] for name in ("x_0", "noise_fine", "noise_coarse")]
    found = official.compute(read_checkpoint(reference.checkpoint), reference.size, inputs)
    assert found.keys() == reference.tensors.keys()
    for name, expected in reference.tensors.items():
        close(found[name], expected)


def test_the_record_tells_right_from_wrong():
    record = load_file(official.RECORD)
    assert record["segmenter_map"].std() > 0.02
    assert (record["x_0_hat"] - record["x_0"]).abs().mean() > 0.1
    assert (record["x_0_fine"] - record["x_0_coarse"]).abs().mean() > 0.1


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@torch.no_grad()
def test_checkpoints_of_other_sizes_compute_the_same(imported, size):
    checkpoint, pipeline = imported(size, eval_normal_t=150, eval_noisier_t=350, condition_w=1.5)
    x_0, *noises = make_inputs(size.image)
    expected = official.infer(checkpoint, size, x_0, *noises)
    step = norm_guided_one_step(pipeline.unet, pipeline.scheduler, x_0, *noises, 150, 350, 1.5)
    close(step.x_0_fine.clamp(-1, 1), expected["x_0_fine"])
    close(step.x_0_coarse, expected["x_0_coarse"])
    close(step.x_0_hat, expected["x_0_hat"])
    anomaly_map = pipeline.segmenter(x_0, step.x_0_hat).sigmoid()[:, 0]
    close(anomaly_map, expected["map"])
    # Else the comparison of the maps would say little.
    assert expected["map"].std() > 0.02 and (expected["map"][0] - expected["map"][1]).abs().mean() > 0.01


@torch.no_grad()
def test_the_pipeline_scores_a_photo_as_the_authors_code_does(imported):
    checkpoint, pipeline = imported(SMALL)
    photo = np.random.default_rng(3).random((71, 93, 3), dtype=np.float32)
    # What OpenCV's bilinear interpolation computes, to a square, without antialiasing.
    x_0 = F.interpolate(torch.from_numpy(photo).permute(2, 0, 1)[None], size=(32, 32), mode="bilinear")
    generator = torch.Generator().manual_seed(pipeline.config.seed)
    noises = [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(2)]
    expected = official.infer(checkpoint, SMALL, x_0, *noises)

    output = pipeline(photo, output_type="pt")
    close(output.score.astype(np.float32), expected["score"])
    close(output.reconstruction, expected["x_0_hat"].clamp(0, 1))
    assert output.anomaly_map[0].shape == (71, 93)
    square = pipeline(x_0, output_type="pt")
    close(square.anomaly_map[0], expected["map"][0])


def test_what_their_code_keeps_outside_the_networks_is_saved(imported, capsys):
    _, pipeline = imported(SMALL)
    settings = pipeline.settings()
    assert settings["input_range"] == [0, 1] and settings["resize_mode"] == "stretch"
    assert settings["antialias"] is False and settings["top_fraction"] * 32**2 == 50
    assert settings["category"] == "nut" and settings["image_size"] == 32
    # No promise about false alarms came with it, and it says so.
    assert settings["threshold"] == 0.5 and settings["calibration"] is None
    assert "The threshold is 0.5, which promises nothing" in capsys.readouterr().out


@pytest.mark.parametrize(("steps", "schedule"), [(1000, "linear"), (500, "linear"), (1000, "cosine")])
def test_the_noise_schedule_is_theirs(tmp_path, steps, schedule):
    args = {"T": steps, "beta_schedule": schedule}
    checkpoint = official.write_checkpoint(tmp_path / "params.pt", SMALL, **args)
    scheduler = to_pipeline(checkpoint, "nut").scheduler
    close(scheduler.alphas_cumprod.double(), official.alpha_bars(args), atol=2e-6)


def test_the_released_size_has_the_released_number_of_weights():
    with torch.device("meta"):
        unet = OfficialUNet()
    assert sum(weight.numel() for weight in unet.parameters()) == pytest.approx(131.65e6, abs=0.01e6)


class RunsCode:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("make", "name"), [(lambda p: RunsCode(p / "ran"), "posix.mkdir"), (lambda p: p, "pathlib.PosixPath")]
)
def test_what_could_run_code_is_refused_by_name(tmp_path, make, name, capsys):
    checkpoint = official.write_checkpoint(tmp_path / "params.pt", SMALL)
    torch.save({**checkpoint, "extra": make(tmp_path)}, tmp_path / "params.pt")
    assert (
        main(
            [
                "--checkpoint",
                str(tmp_path / "params.pt"),
                "--category",
                "nut",
                "--output",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    assert f"params.pt` names {name}, which was not loaded" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"num_heads": None}, r"`args` has no num_heads"),
        ({"num_heads": "four"}, r"`args` has num_heads 'four'"),
        ({"num_heads": 5}, r"`num_attention_heads` is 5, which does not divide the width 64"),
        ({"num_head_channels": 48}, r"`attention_head_dim` is 48, which does not divide the width 64"),
        ({"img_size": [32, 64]}, r"img_size \[32, 64\]; only square"),
        ({"img_size": None}, r"`args` has img_size None"),
        ({"img_size": [48, 48]}, r"`image_size` is 48; `segmenter` halves pictures"),
        ({"beta_schedule": "sigmoid"}, r"beta_schedule 'sigmoid'"),
        ({"noise_fn": "simplex"}, r"noise_fn 'simplex'"),
        ({"eval_normal_t": 500}, r"`t_fine` is 500 and `t_coarse` 400"),
        ({"T": 10.5}, r"`args` has T 10\.5"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(tmp_path, args, words):
    official.write_checkpoint(tmp_path / "params.pt", SMALL, **args)
    with pytest.raises(ValueError, match=words):
        to_pipeline(read_checkpoint(tmp_path / "params.pt"), "nut")


def change_weights(checkpoint, part: str, **changes) -> None:
    for name, weight in changes.items():
        name = name.replace("__", ".")
        if weight is None:
            del checkpoint[part][name]
        else:
            checkpoint[part][name] = weight


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("unet_model_state_dict", {"out__2__bias": None}, r"1 weights .* for conv_out\.bias in OfficialUNet"),
        ("unet_model_state_dict", {"out__2__bias": torch.zeros(4)}, r"another shape.*conv_out\.bias"),
        ("unet_model_state_dict", {"label_emb__weight": torch.zeros(4)}, r"has `label_emb\.weight`, which"),
        ("unet_model_state_dict", {"down__0__0__weight": None}, r"is not the UNet of the authors"),
        ("unet_model_state_dict", {"up__0__0__extra__weight": torch.zeros(4)}, r"left over.*up\.0\.0\.extra"),
        ("seg_model_state_dict", {"encoder_segment__block2__0__weight": None}, r"is not the segmenter"),
        ("seg_model_state_dict", {"decoder_segment__up4__2__bias": None}, r"for up\.4\.1\.bias"),
        ("seg_model_state_dict", {"head__weight": torch.zeros(4)}, r"has `head\.weight`, which"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_named(tmp_path, part, changes, words):
    checkpoint = official.write_checkpoint(tmp_path / "params.pt", SMALL)
    change_weights(checkpoint, part, **changes)
    with pytest.raises(ValueError, match=words):
        to_pipeline(checkpoint, "nut")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}}, r"has no `unet_model_state_dict`"),
        ([1, 2], r"has no `unet_model_state_dict`"),
        ({"unet_model_state_dict": {"a": 1}, "seg_model_state_dict": {}, "args": {}}, r"has a int as 'a'"),
    ],
    ids=str,
)
def test_another_kind_of_checkpoint_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "params.pt")
    with pytest.raises(ValueError, match=words):
        read_checkpoint(tmp_path / "params.pt")


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_damaged_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "params.pt"
    official.write_checkpoint(path, SMALL)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"params\.pt` is no checkpoint that can be read \(.*copy it again"):
        read_checkpoint(path)


def test_a_missing_checkpoint_and_a_full_folder_are_named(tmp_path, capsys):
    arguments = ["--checkpoint", str(tmp_path / "params.pt"), "--category", "nut"]
    arguments += ["--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "params.pt` does not exist" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(arguments) == 2
    assert "out` is not empty" in capsys.readouterr().err
