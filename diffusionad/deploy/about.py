"""What an export's folder says of itself, in exported.json: read, checked, written again.

The folder may be anybody's, so bounds and types are checked, and that the graphs are those that it names.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from diffusionad.deploy.runtimes import FORMATS, PRECISIONS
from diffusionad.files import file_sha256
from diffusionad.loading.model_files import read_json, remedy, require_file
from diffusionad.postprocessing.fusion import MAPS
from diffusionad.settings import check_settings

ABOUT = "exported.json"
NETWORKS, DISTANCES = "networks", "distances"
T_MAX = 10_000  # timesteps: the schedule itself is in the graph


def is_exported(folder: str | os.PathLike) -> bool:
    """Say whether a folder holds an export."""
    return (Path(folder) / ABOUT).is_file()


def read_about(folder: Path) -> dict[str, Any]:
    """Read and check exported.json, which may be anybody's, and that the graphs are those that it names.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged or foreign file.
    """
    path = folder / ABOUT
    about = read_json(path, folder)
    graphs = about.get("graphs")
    if about.get("format") not in FORMATS or about.get("precision") not in PRECISIONS:
        raise ValueError(f"`{path}` names no known format and precision; {remedy(path)}.")
    if not isinstance(about.get("settings"), dict) or not isinstance(graphs, dict):
        raise ValueError(f"`{path}` lacks settings or graphs; {remedy(path)}.")
    wanted = [NETWORKS] if about.get("features") is None else [NETWORKS, DISTANCES]
    if sorted({Path(str(name)).stem for name in graphs}) != sorted(wanted):
        raise ValueError(f"`{path}` must name graphs for {' and '.join(wanted)}; {remedy(path)}.")
    for name, digest in graphs.items():
        if Path(name).name != name:
            raise ValueError(f"`{path}` names `{name}`, which is no file of this folder.")
        require_file(folder / name, folder)
        if file_sha256(folder / name) != digest:
            raise ValueError(
                f"`{folder / name}` is not the graph that {ABOUT} was written for; export again."
            )
    about["settings"].setdefault("contrast", 1.0)  # exports from before there was one
    try:
        check(about["settings"])
        _check_features(about.get("features"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"`{path}` lacks a setting, or has one of another kind ({error!r}).") from error
    return {"features": None, **about, "runtime": FORMATS[about["format"]]}


def check(settings: dict[str, Any]) -> None:
    """Check the settings of an export; what only the graph knows, its networks, is not asked for."""
    check_settings(settings, T_MAX, settings["patch_size"], {})


def _check_features(features: Any) -> None:
    if features is None:
        return
    numbers = [features["shorter_side"], *features["weights"]]
    numbers += [value for name in MAPS for value in features[f"{name}_range"]]
    if len(numbers) != 1 + len(MAPS) * 3 or not np.isfinite(numbers).all() or features["shorter_side"] < 32:
        raise ValueError(f"`features` in {ABOUT} are {str(features)[:200]}, which no `FeatureMemory` has.")
    if sum(features["weights"]) <= 0 or min(features["weights"]) < 0 or features["shorter_side"] > 4096:
        raise ValueError(f"`features` in {ABOUT} are {str(features)[:200]}, which no `FeatureMemory` has.")
