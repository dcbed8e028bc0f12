"""Sections of a TOML file as dataclasses; a wrong key or value is refused with the valid ones."""

import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

Section = TypeVar("Section")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ValueError: it is not valid TOML.
        OSError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is not valid TOML: {error}.") from error


def check_names(given: Mapping[str, Any], sections: typing.Iterable[str]) -> None:
    """Raise a ValueError that lists the sections when `given` has another one."""
    names = list(sections)
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"`{unknown[0]}` is no section of a config; use one of {', '.join(names)}.")


def read_section(section: str, kind: type[Section], given: Any) -> Section:
    """Return one section as a dataclass whose fields all have a default.

    Args:
        section: its name, for messages.
        kind: the dataclass.
        given: the values as TOML has them.

    Raises:
        ValueError: no table, an unknown key, or a value of the wrong type.
    """
    check_table(section, given)
    types, default = typing.get_type_hints(kind), kind()
    for name in given:
        if name not in types:
            raise ValueError(f"`{section}.{name}` is unknown; use one of {', '.join(sorted(types))}.")
    return kind(
        **{
            name: _checked(f"{section}.{name}", value, types[name], getattr(default, name))
            for name, value in given.items()
        }
    )


def check_table(section: str, given: Any) -> None:
    """Raise a ValueError when the value of a section is no table of keys."""
    if not isinstance(given, dict):
        raise ValueError(f"`{section}` is {given!r}; write a section [{section}] with keys.")


def _checked(name: str, value: Any, kind: Any, default: Any) -> Any:
    """A value as its field declares it: TOML has lists for tuples, and 1 for 1.0."""
    from huggingface_hub.dataclasses import type_validator

    if kind is float and type(value) is int:
        value = float(value)
    elif typing.get_origin(kind) is tuple and isinstance(value, list):
        value = tuple(value)
    try:
        type_validator(name, value, kind)
    except TypeError as error:
        wanted = kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
        example = "" if default is None else f", such as {default!r}"
        raise ValueError(f"`{name}` is {value!r}; give a value of type {wanted}{example}.") from error
    return value
