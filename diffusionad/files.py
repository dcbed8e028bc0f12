"""Files that are whole or absent, their hashes, and the figures that may be written into them."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or a new folder beside `path` and rename it when it is whole.

    Args:
        path: final place. An existing file is replaced; a folder must not exist yet.

    Yields:
        The place to write to: `.NAME.partial` beside `path`. It is removed where writing fails.
    """
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def check_finite(value: Any, name: str) -> None:
    """Raise a ValueError that names the first number in nested figures that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{name}` is {value}; only finite figures are kept and published.")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_finite(inner, f"{name}: {key}")
    if isinstance(value, list):
        for i, inner in enumerate(value):
            check_finite(inner, f"{name}: {i}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
