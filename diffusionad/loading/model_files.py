"""Files of a saved model, which may be anybody's: inside its folder, small, and JSON without tricks."""

import json
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 16_000_000  # a region of interest with a ragged border takes a few


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """Return the values of a JSON file of a model.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a link out of the model's folder, a huge file, no valid JSON, or not an object.
    """
    require_file(path, folder)
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(
            f"`{path}` has {size / 1e6:.0f} MB; no config has more than {MAX_JSON_BYTES // 10**6}: "
            f"{remedy(path)}."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of bad UTF-8, and of numbers with thousands of digits
        raise ValueError(f"`{path}` is not valid JSON ({error}); {remedy(path)}.") from error
    except RecursionError as error:
        raise ValueError(f"`{path}` is nested too deeply for a config; {remedy(path)}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"`{path}` holds a {type(values).__name__}, not settings; {remedy(path)}.")
    return values


def require_file(path: Path, folder: Path) -> None:
    """Check that a file of the model in `folder` is there, and is its own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a link out of the model's folder.
    """
    if not is_inside(path, folder):
        raise ValueError(
            f"`{path}` is a link out of the model's folder, and is not followed; put the file itself there."
        )
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; {remedy(path)}, with all its files.")


def is_inside(path: Path, folder: Path) -> bool:
    """Say whether a file lies in a model's folder, with all links followed.

    The cache of the Hub's client keeps a snapshot as links to `blobs`, two folders above: those are its own.
    """
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links
        return False


def weights_name(variant: str | None) -> str:
    """Return the file name of a network's weights."""
    return f"diffusion_pytorch_model{f'.{variant}' if variant else ''}.safetensors"


def remedy(path: Path) -> str:
    """Say what to do about a damaged file."""
    for folder in path.parents:
        if folder.name == "snapshots":  # of links into the cache of the Hub's client
            return f"delete `{folder.parent}` and load it again"
    return "copy the model again"
