"""Magnetic Tile Defects, as released: each picture (.jpg) beside its mask (.png).

    MT_Free, MT_Blowhole, MT_Break, MT_Crack, MT_Fray, MT_Uneven/Imgs/exp1_num_4727.{jpg,png}

The release has no split. The split in the literature is a list of training pictures, one name a line: put it
beside the folders as a text file with "train" in its name. Each tile was filmed under six exposures, and the
list divides the pictures of a tile between training and test: a model that remembers the stains of a tile
from one exposure raises no alarm at another. Without the list a fifth of the good tiles is tested, with all
their pictures.
"""

import hashlib
import itertools
import re
from pathlib import Path

from ..records import GOOD, Catalog, Record, by_stem, child, pictures, subfolders

NAME = "Magnetic Tile Defects"
CATEGORY = "magnetic_tile"
PREFIX = "mt_"
SAME_TILE = 300  # frames between two pictures, up to which they may show the same tile


def categories(root: Path) -> list[str]:
    """Return the one category where there is a folder MT_Free."""
    return [CATEGORY] if child(root, "MT_Free") else []


def read(root: Path, category: str) -> Catalog:
    """Read the whole data set.

    Raises:
        ValueError: there are several training lists, or the list names missing pictures.
    """
    free = child(root, "MT_Free")
    assert free is not None, "`categories` found the folder"
    good, masked = _images(free)
    tiles = _tiles([path.stem for path in good])
    chosen, note = _training_names(root, good, tiles)
    tile_of = {stem: tile[0] for tile in tiles for stem in tile}
    train, test = (
        [
            Record(path, name, 0, GOOD, category=category, part=tile_of[path.stem])
            for path in good
            if (path.stem in chosen) == (name == "train")
        ]
        for name in ("train", "test")
    )
    for folder in subfolders(root):
        kind = folder.name.lower().removeprefix(PREFIX)
        if folder.name.lower().startswith(PREFIX) and kind != "free":
            images, masked = _images(folder)
            test += [Record(p, "test", 1, kind, masked.get(p.stem.lower()), None, category) for p in images]
    return Catalog(category, train, test, NAME, (note,))


def _images(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return the pictures, and the masks by their stem."""
    files = pictures(child(folder, "Imgs") or folder)
    is_mask = [path.suffix.lower() == ".png" for path in files]
    masks = [path for path, mask in zip(files, is_mask, strict=True) if mask]
    return [path for path, mask in zip(files, is_mask, strict=True) if not mask], by_stem(masks)


def _training_names(root: Path, good: list[Path], tiles: list[list[str]]) -> tuple[set[str], str]:
    """Return the stems of the pictures to train with, and a note on their choice."""
    lists = [path for path in sorted(root.glob("*")) if _is_training_list(path)]
    if not lists:
        trained = [tile for tile in tiles if hashlib.sha256(tile[0].encode()).digest()[0] % 5]
        note = "no training list beside MT_Free: a fifth of the good tiles is tested, with all their pictures"
        return set(itertools.chain(*trained)), note
    if len(lists) > 1:
        names = ", ".join(path.name for path in lists)
        raise ValueError(f"`{root}` has several training lists ({names}); keep one.")
    lines = lists[0].read_text(encoding="utf-8-sig").splitlines()
    chosen = {Path(line.strip().replace("\\", "/")).stem for line in lines if line.strip()}
    absent = sorted(chosen - {path.stem for path in good})
    if absent:
        listed = "\n  ".join(absent)
        raise ValueError(f"`{lists[0]}` names {len(absent)} pictures that MT_Free has not:\n  {listed}")
    tested = [(stem, not chosen.isdisjoint(tile)) for tile in tiles for stem in tile if stem not in chosen]
    return chosen, (
        f"the pictures to train with are those of {lists[0].name}; {sum(seen for _, seen in tested)} of "
        f"{len(tested)} good pictures to test may show a tile that is trained on, under another exposure"
    )


def _tiles(stems: list[str]) -> list[list[str]]:
    """Group the names of pictures that may show the same tile: it was filmed without a pause."""
    frames = {stem: int(found[1]) for stem in stems if (found := re.search(r"num_(\d+)$", stem.lower()))}
    tiles = [[stem] for stem in stems if stem not in frames]
    last = -SAME_TILE - 1
    for stem in sorted(frames, key=lambda stem: frames[stem]):
        if frames[stem] - last > SAME_TILE:
            tiles.append([])
        tiles[-1].append(stem)
        last = frames[stem]
    return tiles


def _is_training_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and "train" in path.name.lower()
