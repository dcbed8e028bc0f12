"""Training, validation and calibration pictures are disjoint, by content."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.config.schema import TrainConfig
from training.data.split import split

CONFIG = TrainConfig()


def different(folder: Path, n: int, first: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04d}.png" for i in range(n)]
    for i, path in enumerate(paths, start=first):
        Image.fromarray(np.full((8, 8), 1 + i, np.uint16)).save(path)
    return paths


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (400, (320, 40, 40)),
        (200, (160, 20, 20)),
        (100, (70, 10, 20)),
        (60, (34, 6, 20)),
        (16, (9, 2, 5)),
        (8, (5, 1, 2)),
    ],
)
def test_calibration_has_twenty_pictures_or_a_third_of_few(
    tmp_path: Path, n: int, sizes: tuple[int, int, int]
) -> None:
    paths = different(tmp_path, n)
    sets = split(paths, CONFIG)
    assert tuple(len(sets[name]) for name in ("train", "validation", "calibration")) == sizes
    assert sorted(itertools.chain(*sets.values())) == paths  # every picture once
    assert split(paths, CONFIG) == sets


def test_copies_of_a_picture_are_not_parted(tmp_path: Path) -> None:
    paths = different(tmp_path, 30)
    for path in list(paths):
        for name in ("again", "and_again"):
            paths.append(path.with_name(f"{path.stem}_{name}.png"))
            paths[-1].write_bytes(path.read_bytes())
    sets = split(paths, CONFIG)
    contents = {name: {path.read_bytes() for path in chosen} for name, chosen in sets.items()}
    assert sum(map(len, contents.values())) == 30 and sum(map(len, sets.values())) == 90
    assert not contents["train"] & contents["calibration"] and not contents["train"] & contents["validation"]


def test_too_few_different_pictures_are_refused(tmp_path: Path) -> None:
    paths = different(tmp_path, 7)
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    with pytest.raises(ValueError, match="has 7 different good pictures; 8 are the least"):
        split([*paths, copy], CONFIG)


def test_a_folder_to_calibrate_with_must_not_be_trained_on(tmp_path: Path) -> None:
    paths = different(tmp_path / "good", 20)
    further = different(tmp_path / "further", 20, first=100)
    data = dataclasses.replace(CONFIG.data, calibration_folder=str(tmp_path / "further"))
    config = dataclasses.replace(CONFIG, data=data)
    sets = split(paths, config)
    assert sets["calibration"] == further and len(sets["train"]) == 18

    further[3].write_bytes(paths[5].read_bytes())
    with pytest.raises(ValueError, match=r"1 pictures that are also in `data.path`.*\n  .*0003.png"):
        split(paths, config)


def test_pictures_of_one_part_stay_together(tmp_path: Path) -> None:
    paths = different(tmp_path, 60)
    parts = {path: f"part {i // 6}" for i, path in enumerate(paths[:48])}  # eight parts, and twelve loners
    sets = split(paths, CONFIG, parts)
    assert sorted(path for chosen in sets.values() for path in chosen) == sorted(paths)
    for part in set(parts.values()):
        assert sum(any(parts.get(path) == part for path in chosen) for chosen in sets.values()) == 1
    assert all(sets.values())
    with pytest.raises(ValueError, match="show 2 parts; 4 are the least"):
        split(paths, CONFIG, {path: f"part {i % 2}" for i, path in enumerate(paths)})
