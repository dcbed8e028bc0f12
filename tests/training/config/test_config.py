"""Presets and settings of training runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from diffusionad import demo_models
from diffusionad.loading.bundled import ASSETS
from training.config.loader import from_dict, load_config, preset_names, to_toml
from training.config.schema import FAMILIES, SynthesisConfig, with_optim


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_a_round_trip_through_toml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config(str(tmp_path / "config.toml")) == config


@pytest.mark.parametrize("folder", ["/parts/🔩 ü", 'C:\\new\\"parts"', "a\nb\tc\x7f"])
def test_any_path_survives_a_round_trip_through_toml(folder: str, tmp_path: Path) -> None:
    config = from_dict({"data": {"path": folder}})
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_config(str(tmp_path / "config.toml")).data.path == folder


@pytest.mark.parametrize("name", demo_models())
def test_the_configs_of_the_embedded_models_are_read(name: str) -> None:
    assert load_config(str(ASSETS / name / "config.toml")).data.path == name


def test_an_unknown_section_key_or_preset_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"`optimizer` is no section.*optim"):
        from_dict({"optimizer": {}})
    with pytest.raises(ValueError, match=r"`optim.learning_rate` is unknown.*unet_lr"):
        from_dict({"optim": {"learning_rate": 1.0}})
    with pytest.raises(ValueError, match=r"'nope'; use .*tiny"):
        load_config("nope")
    with pytest.raises(ValueError, match=r"`optim` is 3; write a section \[optim\]"):
        from_dict({"optim": 3})


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("optim.batch_size=many", "`optim.batch_size` is 'many'; give a value of type int, such as 16"),
        ("optim.batch_size=true", "`optim.batch_size` is True; give a value of type int"),
        ("optim.batch_size=1.5", "`optim.batch_size` is 1.5; give a value of type int"),
        ("optim.repair=1", "`optim.repair` is 1; give a value of type bool, such as False"),
        ("data.path=3", "`data.path` is 3; give a value of type str"),
        (
            "model.unet_channels=[16, 'x']",
            r"`model.unet_channels` is \(16, 'x'\); give .*tuple\[int, \.\.\.\]",
        ),
        (
            "diffusion.train_t_fine=[0, 1, 2]",
            r"`diffusion.train_t_fine` is \(0, 1, 2\); give .*tuple\[int, int\]",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named(setting: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_config("tiny", [setting])


def test_an_override_without_section_is_refused() -> None:
    with pytest.raises(ValueError, match=r"write section.key=value"):
        load_config("tiny", ["batch_size"])


def test_a_whole_number_is_a_float_and_a_list_a_tuple() -> None:
    config = load_config("tiny", ["optim.unet_lr=1", "model.unet_channels=[16, 32]"])
    assert type(config.optim.unet_lr) is float and config.model.unet_channels == (16, 32)


def test_settings_of_runs_before_a_key_was_renamed_or_removed_are_read() -> None:
    config = from_dict({"optim": {"bank_size": 6, "bank_steps": 3}, "model": {"known_marks": False}})
    assert (config.optim.buffer_size, config.optim.buffer_steps) == (6, 3)
    with pytest.raises(ValueError, match=r"`model.known_marks` is True, but .*`diffusionad learn-marks`"):
        from_dict({"model": {"known_marks": True}})


def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[optim\n")
    with pytest.raises(ValueError, match=r"mine.toml` is not valid TOML"):
        load_config(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"mine.toml` is not valid TOML"):
        load_config(str(tmp_path / "mine.toml"))


def test_a_preset_may_extend_another(tmp_path: Path) -> None:
    paper, steady = load_config("paper"), load_config("paper_steady")
    assert (paper.optim.segmenter_cosine_steps, steady.optim.segmenter_cosine_steps) == (10, 0)
    assert with_optim(steady, segmenter_cosine_steps=10) == paper
    (tmp_path / "mine.toml").write_text('extends = "nobody"')
    with pytest.raises(ValueError, match=r"`extends` in .*mine.toml` is 'nobody'; use .*paper"):
        load_config(str(tmp_path / "mine.toml"))


def test_the_paper_preset_is_the_published_recipe() -> None:
    config = load_config("paper")
    assert config.model.unet_channels == (128, 128, 256, 256, 512, 512)
    assert config.model.patch_size == 1 and config.model.prediction_type == "epsilon"
    assert config.diffusion.train_t_fine == (0, 300) and config.diffusion.train_t_coarse == (300, 1000)
    assert (config.optim.batch_size, config.optim.max_epochs) == (16, 3000)
    assert (config.optim.unet_lr, config.optim.segmenter_lr) == (1e-4, 1e-5)
    assert config.optim.weight_decay == config.optim.gradient_norm_max == 0
    assert config.optim.segmentation_loss == "paper" and not config.optim.detach_reconstruction
    assert config.synthesis.families == ("perlin",)


def test_an_override_wins_over_the_preset() -> None:
    config = load_config("tiny", ["optim.seed=7", "synthesis.families=['dots']"])
    assert config.optim.seed == 7
    assert config.synthesis.families == ("dots",)


def test_an_unknown_family_of_defects_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match=rf"`families` is \('rust',\); list one or more of {', '.join(FAMILIES)}"
    ):
        SynthesisConfig(families=("rust",))


def test_settings_are_read_without_torch_and_numpy() -> None:
    code = (
        "import sys; from training.config.loader import load_config; load_config('tiny'); "
        "print(*({'torch', 'numpy', 'PIL', 'accelerate'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_toml_is_written_as_people_write_it() -> None:
    parsed = tomlkit.parse(to_toml(load_config("tiny")))
    assert list(parsed) == ["data", "model", "diffusion", "synthesis", "optim", "distillation", "log"]
    assert parsed["optim"]["unet_lr"] == 1e-3
