"""Presets and settings of training runs."""

import pytest

from training.config import from_dict, load_config, preset_names, to_toml


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


def test_an_override_wins_over_the_preset() -> None:
    config = load_config("tiny", ["optim.seed=7", "synthesis.families=['dots']", "optim.unet_lr=1"])
    assert config.optim.seed == 7
    assert config.synthesis.families == ("dots",)
    assert config.optim.unet_lr == 1.0
