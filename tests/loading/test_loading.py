"""A saved pipeline: the same bits in a fresh process, and one clear sentence for everything that is wrong."""

import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import warm_start

from diffusionad import DiffusionADPipeline, MarkMemory
from diffusionad.loading.model_files import MAX_JSON_BYTES

SCORE_IN_A_FRESH_PROCESS = """
import sys, numpy, torch
from diffusionad import DiffusionADPipeline
torch.set_num_threads(int(sys.argv[4]))
output = DiffusionADPipeline.from_pretrained(sys.argv[1])(numpy.load(sys.argv[2]), output_type="np")
numpy.savez(sys.argv[3], score=output.score, p_value=output.p_value, map=output.anomaly_map[0],
            reconstruction=output.reconstruction)
"""


CONFIG_FILES = [
    "model_index.json", "scheduler/scheduler_config.json", "segmenter/config.json", "unet/config.json"
]  # fmt: skip


@pytest.fixture
def folder(tiny_model_folder, tmp_path) -> Path:
    """A copy of the saved pipeline to damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_fresh_process_gives_the_same_bits(tiny_pipeline, tiny_model_folder, make_pictures, tmp_path):
    pictures = np.stack(make_pictures(3, side=70))
    np.save(tmp_path / "pictures.npy", pictures)
    arguments = [tiny_model_folder, tmp_path / "pictures.npy", tmp_path / "out.npz", torch.get_num_threads()]
    ran = warm_start.run([sys.executable, "-c", SCORE_IN_A_FRESH_PROCESS, *map(str, arguments)])
    assert ran.returncode == 0, ran.stderr
    expected = tiny_pipeline(pictures, output_type="np")
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["score"], expected.score)
    np.testing.assert_array_equal(found["p_value"], expected.p_value)
    np.testing.assert_array_equal(found["map"], expected.anomaly_map[0])
    np.testing.assert_array_equal(found["reconstruction"], expected.reconstruction)


def test_the_folder_holds_json_and_safetensors_only(tiny_model_folder):
    files = {str(p.relative_to(tiny_model_folder)) for p in tiny_model_folder.rglob("*") if p.is_file()}
    assert files == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "segmenter/config.json",
        "segmenter/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }


def test_the_index_names_the_components_and_all_settings(tiny_pipeline, tiny_model_folder):
    index = json.loads((tiny_model_folder / "model_index.json").read_text())
    assert index["_class_name"] == "DiffusionADPipeline"
    assert index["segmenter"] == ["diffusionad", "AnomalySegmenter"]
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert index["scheduler"] == ["diffusers", "DDPMScheduler"]
    for name, value in tiny_pipeline.settings().items():
        assert index[name] == value


def test_what_is_saved_again_is_the_same_and_names_no_folder(fresh_pipeline, tiny_model_folder, tmp_path):
    fresh_pipeline.save_pretrained(tmp_path)
    for path in sorted(p for p in tiny_model_folder.rglob("*") if p.is_file()):
        again = tmp_path / path.relative_to(tiny_model_folder)
        if path.suffix == ".json":
            assert str(tiny_model_folder.parent) not in again.read_text(), again.name
        else:
            assert again.read_bytes() == path.read_bytes()


def test_loading_takes_settings_and_dtype(tiny_model_folder):
    pipeline = DiffusionADPipeline.from_pretrained(
        str(tiny_model_folder), dtype=torch.bfloat16, threshold=0.25
    )
    assert pipeline.dtype == torch.bfloat16
    assert pipeline.config.threshold == 0.25
    assert not pipeline.unet.training and not pipeline.segmenter.training


def test_loading_says_nothing(tiny_model_folder, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        DiffusionADPipeline.from_pretrained(tiny_model_folder)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_casting_warns_of_no_modules_that_do_not_exist(fresh_pipeline, caplog, capfd):
    fresh_pipeline.to(torch.bfloat16)
    assert fresh_pipeline.dtype == torch.bfloat16
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_quantized_weights_are_refused(folder):
    edit_json(folder / "unet" / "config.json", quantization_config={"quant_method": "torchao"})
    with pytest.raises(ValueError, match=r"unet/config\.json` asks for quantized weights; only plain ones"):
        DiffusionADPipeline.from_pretrained(folder)


def test_the_half_precision_variant_is_saved_and_loaded(
    tiny_pipeline, tiny_model_folder, make_pictures, tmp_path
):
    half = DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=torch.float16)
    half.save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "segmenter" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    loaded = DiffusionADPipeline.from_pretrained(tmp_path, variant="fp16", dtype=torch.float32)
    assert loaded.dtype == torch.float32
    scores = loaded(make_pictures(3)).score
    np.testing.assert_allclose(scores, tiny_pipeline(make_pictures(3)).score, atol=2e-3)
    with pytest.raises(FileNotFoundError, match=r"unet.diffusion_pytorch_model\.safetensors` is missing"):
        DiffusionADPipeline.from_pretrained(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"unet.diffusion_pytorch_model\.fp16\.safetensors` is missing"
    ):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, variant="fp16")


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "segmenter/config.json",
        "segmenter/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}` is missing; ") as caught:
        DiffusionADPipeline.from_pretrained(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", CONFIG_FILES)
@pytest.mark.parametrize("content", [b'{"half": ', b"", b"\xff\xfe\x00", b"[1, 2]"], ids=repr)
def test_bad_json_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name.partition('/')[0]}"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", CONFIG_FILES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply"),
        ('{"a": ' + "9" * 10_000 + "}", "is not valid JSON"),
        ('{"a": "' + "x" * MAX_JSON_BYTES + '"}', "has 16 MB; no config has more than 16"),
    ],
    ids=["deep", "long number", "large"],
)
def test_json_that_only_an_attacker_writes_is_refused(folder, name, content, words):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}` {words}.*copy the model again"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", [*CONFIG_FILES, "unet/diffusion_pytorch_model.safetensors"])
def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=rf"{name}` is a link out of the model's folder, and is not followed"
    ):
        DiffusionADPipeline.from_pretrained(folder)


def test_a_linked_folder_of_a_component_is_not_followed(folder, tmp_path):
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"unet/config\.json` is a link out of the model's folder"):
        DiffusionADPipeline.from_pretrained(folder)


def test_links_inside_the_folder_and_to_it_are_followed(folder, tmp_path):
    (folder / "unet/config.json").rename(folder / "config-of-unet.json")
    (folder / "unet/config.json").symlink_to(folder / "config-of-unet.json")
    (tmp_path / "link").symlink_to(folder)
    assert DiffusionADPipeline.from_pretrained(tmp_path / "link").config.image_size == 64


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("scheduler", {"beta_schedule": "evil"}, r"cannot be used \(evil is not implemented"),
        ("scheduler", {"beta_schedule": ["linear"]}, "in `beta_schedule`; give a value like 'linear'"),
        ("scheduler", {"clip_sample": "yes"}, "has 'yes' in `clip_sample`; give a value like True"),
        ("scheduler", {"beta_end": 1.5}, "its betas give no alpha_bar between 0 and 1"),
        ("scheduler", {"beta_start": 1}, "its betas give no alpha_bar between 0 and 1"),
        ("unet", {"norm_eps": []}, r"has \[\] in `norm_eps`; give a value like 1e-05"),
        ("unet", {"downsample_padding": ["x"]}, "in `downsample_padding`; give a value like 1"),
        ("unet", {"block_out_channels": ["x", "x"]}, "in `block_out_channels`; give a value like"),
        ("unet", {"time_embedding_type": "x"}, "cannot be loaded"),
        ("scheduler", {"num_train_timesteps": 500_000_000}, "has 500000000 in `num_train_timesteps`"),
        (
            "scheduler",
            {"num_train_timesteps": 60_000},
            "has `num_train_timesteps` 60000; give an integer in 2",
        ),
        ("scheduler", {"num_train_timesteps": 1000.0}, r"has `num_train_timesteps` 1000\.0"),
        (
            "scheduler",
            {"num_train_timesteps": "1000"},
            r"has .1000. in `num_train_timesteps`; give a value like 1000",
        ),
        ("scheduler", {"beta_start": float("nan")}, "has nan in `beta_start`"),
        ("scheduler", {"beta_end": 5.0}, "its betas give no alpha_bar between 0 and 1"),
        ("scheduler", {"trained_betas": [0.1]}, "its betas give no alpha_bar between 0 and 1 for each"),
        (
            "scheduler",
            {"trained_betas": [0.1] * 20_000},
            "has 20000 values in `trained_betas`; at most 10000",
        ),
        ("unet", {"norm_num_groups": 0}, r"cannot be loaded \(ZeroDivisionError"),
        ("unet", {"norm_num_groups": 10**12}, "in `norm_num_groups`; use a number within"),
        ("unet", {"block_out_channels": [60_000, 60_000]}, "cannot be loaded .* weights, more than .* bytes"),
        ("unet", {"block_out_channels": [16] * 17}, "has 17 values in `block_out_channels`; at most 16"),
        ("unet", {"block_out_channels": {"a": 1}}, "in `block_out_channels`; use a number within"),
        ("unet", {"layers_per_block": 10_000}, "has `layers_per_block` 10000; give an integer in 1..64"),
        ("unet", {"layers_per_block": "two"}, "has `layers_per_block` 'two'"),
        ("unet", {"down_block_types": ["Evil", "Evil"]}, "cannot be loaded"),
        ("unet", {"act_fn": "x" * 10_000}, r"has 'x+\.\.\. in `act_fn`"),
        ("unet", {f"a{i}": 0 for i in range(300)}, "entries; a config has at most 200"),
        ("segmenter", {"block_out_channels": [60_000, 60_000, 60_000]}, "more than .* bytes"),
        ("segmenter", {"block_out_channels": [0, 0, 0]}, "cannot be loaded"),
        ("segmenter", {"stem_patch": 10**9}, "in `stem_patch`; use a number within"),
        ("segmenter", {"norm": None}, "cannot be loaded"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_config_out_of_bounds_is_one_sentence_before_memory_is_taken(folder, name, values, words):
    file = "scheduler_config.json" if name == "scheduler" else "config.json"
    edit_json(folder / name / file, **values)
    with pytest.raises(ValueError, match=words) as caught:
        DiffusionADPipeline.from_pretrained(folder)
    assert str(folder / name) in str(caught.value) and len(str(caught.value)) < 2000


@pytest.mark.parametrize("known_marks", [10**7, 6, "many"])
def test_marks_that_an_old_segmenter_claims_without_having_them_are_refused(folder, known_marks):
    edit_json(folder / "segmenter/config.json", known_marks=known_marks)
    with pytest.raises(ValueError, match=r"in `known_marks`; use a number|holds no marks that can be used"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize("num_marks", [10**7, 20_001, -1, 1.5, "many", None])
def test_marks_that_a_memory_claims_without_having_them_are_refused(folder, num_marks):
    MarkMemory(64).save_pretrained(folder / "mark_memory")
    edit_json(folder / "model_index.json", mark_memory=["diffusionad", "MarkMemory"])
    assert DiffusionADPipeline.from_pretrained(folder).mark_memory is not None
    edit_json(folder / "mark_memory/config.json", num_marks=num_marks)
    with pytest.raises(ValueError, match="`num_marks`"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", ["unet", "segmenter"])
@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, -1])
def test_truncated_weights_are_named(folder, name, keep):
    path = folder / name / "diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(
        ValueError, match=rf"{name}/diffusion_pytorch_model\.safetensors` cannot be loaded .*copy"
    ):
        DiffusionADPipeline.from_pretrained(folder)


def test_missing_weights_are_counted_and_named(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "segmenter" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_out.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"segmenter.*lacks 1 weights, such as conv_out\.weight"):
        DiffusionADPipeline.from_pretrained(folder)


def test_weights_of_another_width_are_refused(folder):
    edit_json(folder / "segmenter" / "config.json", block_out_channels=[16, 32, 64])
    with pytest.raises(ValueError, match=r"segmenter/.*cannot be loaded"):
        DiffusionADPipeline.from_pretrained(folder)


def test_an_index_that_points_diffusers_at_code_loads_without_running_it(
    folder, fresh_pipeline, make_pictures
):
    edit_json(folder / "model_index.json", _class_name=["pipeline", "DiffusionADPipeline"])
    (folder / "pipeline.py").write_text("raise SystemExit('this code must not run')")
    found = DiffusionADPipeline.from_pretrained(folder)(make_pictures(2)).score
    np.testing.assert_array_equal(found, fresh_pipeline(make_pictures(2)).score)


@pytest.mark.parametrize(
    "found",
    [["other", "DiffusionADPipeline"], ["pipeline", "Other"], ["pipeline"], "Other", None, 7],
)
def test_an_index_of_another_class_is_refused(folder, found):
    edit_json(folder / "model_index.json", _class_name=found)
    with pytest.raises(ValueError, match=r"model_index\.json` describes a .*, not a DiffusionADPipeline"):
        DiffusionADPipeline.from_pretrained(folder)


def test_another_kind_of_model_is_named(folder):
    edit_json(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    with pytest.raises(ValueError, match=r"describes a 'StableDiffusionPipeline', not a DiffusionADPipeline"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("segmenter", ["os", "system"]),
        ("segmenter", ["training.models", "AnomalySegmenter"]),
        ("unet", ["diffusers", "UNet2DConditionModel"]),
        ("scheduler", ["diffusers", "DDIMScheduler"]),
        ("unet", [None, None]),
        ("unet", None),
    ],
)
def test_a_component_of_another_class_is_never_imported(folder, name, entry):
    edit_json(folder / "model_index.json", **{name: entry})
    with pytest.raises(
        ValueError, match=rf"as `{name}`; only \['diffusionad'|as `{name}`; only \['diffusers'"
    ):
        DiffusionADPipeline.from_pretrained(folder)


def test_a_setting_of_a_newer_version_is_named(folder):
    edit_json(folder / "model_index.json", hypothesis=3)
    with pytest.raises(ValueError, match=r"model_index\.json` has \['hypothesis'\], unknown .*upgrade"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"t_fine": "many"},
        {"threshold": None},
        {"image_size": "64"},
        {"image_size": 2**16},
        {"input_range": 5},
        {"input_range": [1, 1]},
        {"calibration": {"threshold": 0.5}},
        {"input_range": [0, float("inf")]},
        {"input_range": [-1e308, 1e308]},
        {"guidance_weight": float("inf")},
        {"guidance_weight": 1e300},
        {"guidance_weight": 10**400},
        {"category": 5},
        {"category": "x" * 100_000},
        {"roi": {"size": [64, 64]}},
        {"roi": {"size": [10**6, 10**5], "counts": [10**11]}},
        {"roi": {"size": [64, 64], "counts": [10**11]}},
        {"roi": {"size": [64, 64], "counts": [-1, 4097]}},
        {"roi": {"size": [64, 64], "counts": [0.5, 4095.5]}},
        {"roi": {"size": [4096], "counts": [0, 4096]}},
        {"roi": {"size": ["64", "64"], "counts": [0, 4096]}},
        {"roi": [1, 2]},
        {"roi": "everywhere"},
        {"roi": {"size": [64, 64], "counts": [7]}},
    ],
    ids=lambda settings: str(settings)[:60],
)
def test_a_saved_setting_that_makes_no_sense_is_named(folder, settings):
    edit_json(folder / "model_index.json", **settings)
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        DiffusionADPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("scores", [0.9, 0.1]), ("n", -999), ("rate", 5), ("threshold", "0.5"), ("date", 1)]
)
def test_a_calibration_that_promises_nothing_is_refused_at_load(folder, tiny_pipeline, field, value):
    edit_json(folder / "model_index.json", calibration={**tiny_pipeline.config.calibration, field: value})
    with pytest.raises(ValueError, match=rf"`calibration\.{field}`"):
        DiffusionADPipeline.from_pretrained(folder)


def test_an_unknown_argument_is_named(tiny_model_folder):
    with pytest.raises(ValueError, match=r"`treshold` is no setting of the pipeline; use one of"):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, treshold=0.5)


@pytest.mark.parametrize("name", ["/absent/model", "./absent", "absent", "a/b/c"])
def test_what_is_neither_folder_nor_repository_is_named(name):
    with pytest.raises(FileNotFoundError, match=rf"`{name}` is neither a folder, nor .*org/name"):
        DiffusionADPipeline.from_pretrained(name)


def test_a_repository_that_is_not_in_the_cache_is_not_found_without_the_network(tmp_path):
    with pytest.raises(FileNotFoundError):
        DiffusionADPipeline.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)
