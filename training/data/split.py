"""Training, validation and calibration pictures: disjoint by content, and by part where parts are known."""

import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffusionad.files import file_sha256
from diffusionad.images.image_io import ImageError, find_images

from ..config.schema import TrainConfig
from .checks import LEAST_GOOD, read_part
from .records import Record, parts_of

LEAST_PARTS = 4  # of which one validates and one calibrates


def split_records(records: list[Record], config: TrainConfig) -> dict[str, list[Path]]:
    """Divide normal pictures into the three sets, every category alike."""
    together: dict[str, list[Path]] = {}
    for category in dict.fromkeys(record.category for record in records):
        chosen = [record for record in records if record.category == category]
        for name, paths in split([record.image for record in chosen], config, parts_of(chosen)).items():
            together[name] = list(dict.fromkeys([*together.get(name, []), *paths]))
    return together


def split(
    paths: list[Path], config: TrainConfig, parts: dict[Path, str] | None = None
) -> dict[str, list[Path]]:
    """Divide normal pictures into training, validation (chooses the checkpoint) and calibration.

    Copies of a file stay together, and so do pictures of the same part: the threshold comes from parts that
    were not trained on. Calibration gets at least `data.calibration_min` pictures even where that is more
    than its fraction, but never more than a third.

    Args:
        paths: normal pictures.
        config: settings of the run.
        parts: the part's name for pictures that share their part with others; copies count as one part.

    Returns:
        Paths by "train", "validation" and "calibration".

    Raises:
        ValueError: fewer than 8 different pictures or 4 parts, or a picture of `data.calibration_folder` that
            is also in `data.path`.
    """
    copies = _by_content(paths)
    groups = _by_part(copies, parts or {})
    n = len(groups)
    shuffled = [groups[i] for i in np.random.default_rng([config.optim.seed, 0]).permutation(n)]
    n_validation = max(1, min(round(config.data.validation_fraction * n), n // 4))
    if config.data.calibration_folder:
        n_calibration, calibration = 0, _further_pictures(config.data.calibration_folder, copies)
    else:
        wanted = max(round(config.data.calibration_fraction * n), config.data.calibration_min)
        n_calibration = min(wanted, n // 3)
        calibration = list(itertools.chain(*shuffled[n - n_calibration :]))
    return {
        "train": sorted(itertools.chain(*shuffled[n_validation : n - n_calibration])),
        "validation": sorted(itertools.chain(*shuffled[:n_validation])),
        "calibration": sorted(calibration),
    }


def check_readable(paths: list[Path]) -> None:
    """Read every picture once.

    Raises:
        ValueError: broken pictures, all of them in one message.
    """
    broken = []
    for path in tqdm(paths, desc="checking pictures", unit="picture", leave=False, disable=None):
        try:
            read_part(path)
        except ImageError as error:
            broken.append(str(error))
    if broken:
        raise ValueError(f"{len(broken)} of {len(paths)} pictures cannot be used:\n  " + "\n  ".join(broken))


def _by_content(paths: list[Path]) -> dict[str, list[Path]]:
    """Files by their SHA-256."""
    copies: dict[str, list[Path]] = {}
    for path in paths:
        copies.setdefault(file_sha256(path), []).append(path)
    if len(copies) < LEAST_GOOD:
        raise ValueError(
            f"`data.path` has {len(copies)} different good pictures; {LEAST_GOOD} are the least to train, "
            "validate and calibrate."
        )
    return copies


def _by_part(copies: dict[str, list[Path]], parts: dict[Path, str]) -> list[list[Path]]:
    """Groups of files that must stay together."""
    groups: dict[str, list[Path]] = {}
    for sha256, same in copies.items():
        groups.setdefault(parts.get(same[0], sha256), []).extend(same)
    if len(groups) < LEAST_PARTS:
        raise ValueError(
            f"The good pictures of `data.path` show {len(groups)} parts; {LEAST_PARTS} are the least to "
            "train, validate and calibrate with different ones."
        )
    return list(groups.values())


def _further_pictures(folder: str, copies: dict[str, list[Path]]) -> list[Path]:
    """Pictures of `data.calibration_folder`, none of which may be trained on."""
    calibration = find_images([folder])
    shared = [str(path) for path in calibration if file_sha256(path) in copies]
    if shared:
        listed = "\n  ".join(shared)
        raise ValueError(
            f"`data.calibration_folder` has {len(shared)} pictures that are also in `data.path`; a "
            f"threshold from pictures that were trained on promises nothing:\n  {listed}"
        )
    return calibration
