"""Presets and TOML files to settings, and back.

`extends = "paper"` in a file starts from another preset. The resolved settings are written into the run as
config.toml, in which a later version must find its way: keys that were renamed keep their old names, too.
"""

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import Any

from diffusionad.files import replacing
from diffusionad.typed_sections import check_names, check_table, read_section, read_toml

from .schema import TrainConfig

PRESETS = Path(__file__).parents[1] / "presets"
# Keys of earlier versions, as `section.key`.
RENAMED = {"optim.bank_size": "buffer_size", "optim.bank_steps": "buffer_steps"}
REMOVED = {
    "model.known_marks": "training no longer learns known marks. Set it to false, and teach the finished "
    "model with `diffusionad learn-marks`."
}


def preset_names() -> list[str]:
    """Return the names that `--preset` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(preset_or_path: str, overrides: list[str] | None = None) -> TrainConfig:
    """Read a preset by name, or a TOML file, with `section.key=value` overrides.

    Raises:
        ValueError: no such preset, an unknown section or key, or a value of the wrong type; the message lists
            the valid ones.
    """
    path = PRESETS / f"{preset_or_path}.toml"
    if not path.is_file():
        path = Path(preset_or_path)
    if not path.is_file():
        raise ValueError(
            f"`--preset` is {preset_or_path!r}; use {', '.join(preset_names())} or the path of a TOML file."
        )
    return from_dict(with_overrides(_read(path), overrides or []))


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Set `section.key=value` in nested plain values, which are changed and returned.

    Raises:
        ValueError: an override of another form.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            raise ValueError(f"`--set` is {override!r}; write section.key=value, such as optim.seed=1.")
        values.setdefault(section, {})[name] = _parse_value(text)
    return values


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Check nested plain values and return them as a config.

    Raises:
        ValueError: an unknown section or key, or a value of the wrong type.
    """
    sections = typing.get_type_hints(TrainConfig)
    check_names(values, sections)
    parts = {name: _section(name, kind, values.get(name, {})) for name, kind in sections.items()}
    return TrainConfig(**parts)


def to_toml(config: TrainConfig) -> str:
    """Write a config as TOML, which `load_config` reads."""
    import tomlkit  # only where a config is written

    return tomlkit.dumps(dataclasses.asdict(config))


def write_config(config: TrainConfig, path: Path) -> None:
    """Write a config as a TOML file."""
    with replacing(path) as partial:
        partial.write_text(to_toml(config), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    values = read_toml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if base not in preset_names():
        raise ValueError(f"`extends` in `{path}` is {base!r}; use one of {', '.join(preset_names())}.")
    inherited = _read(PRESETS / f"{base}.toml")
    return {k: {**inherited.get(k, {}), **values.get(k, {})} for k in [*inherited, *values]}


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(section: str, kind: type, given: Any) -> Any:
    """One section of a config; `given` are its values as TOML has them, keys of earlier versions included."""
    check_table(section, given)
    values = {}
    for key, value in given.items():
        reason = REMOVED.get(f"{section}.{key}")
        if reason is None:
            values[RENAMED.get(f"{section}.{key}", key)] = value
        elif value is not False:
            raise ValueError(f"`{section}.{key}` is {value!r}, but {reason}")
    return read_section(section, kind, values)
