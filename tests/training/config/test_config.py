"""Presets and settings of training runs."""

import pytest

from training.config.schema import from_dict, load_config, preset_names, to_toml, with_optim


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_a_round_trip_through_toml(name: str, tmp_path) -> None:
    config = load_config(name)
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config(str(tmp_path / "config.toml")) == config


def test_an_unknown_section_key_or_preset_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"`optimizer` is no section.*optim"):
        from_dict({"optimizer": {}})
    with pytest.raises(ValueError, match=r"`optim.learning_rate` is unknown.*unet_lr"):
        from_dict({"optim": {"learning_rate": 1.0}})
    with pytest.raises(ValueError, match=r"'nope'; use .*tiny"):
        load_config("nope")


def test_a_value_of_the_wrong_type_is_named() -> None:
    with pytest.raises(ValueError, match=r"`optim.batch_size` is 'many'; a int"):
        load_config("tiny", ["optim.batch_size=many"])
    with pytest.raises(ValueError, match=r"write section.key=value"):
        load_config("tiny", ["batch_size"])


def test_a_preset_may_extend_another(tmp_path) -> None:
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
    config = load_config("tiny", ["optim.seed=7", "synthesis.families=['dots']", "optim.unet_lr=1"])
    assert config.optim.seed == 7
    assert config.synthesis.families == ("dots",)
    assert config.optim.unet_lr == 1.0
