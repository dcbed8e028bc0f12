"""Check a data set file by file before training spends time on it."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from diffusionad.images.blank import check_shows_something
from diffusionad.images.image_io import IMAGE_FORMATS, ImageError, read_image

from .masks import read_mask
from .records import Record

LEAST_GOOD = 8  # good pictures to train, validate and calibrate with
MASK_MOST = 0.5  # a mask that covers more of its picture is probably white on the good pixels
NAMED_AT_MOST = 10  # files of an unusual size or mode; more than these are not unusual


@dataclass(frozen=True)
class Seen:
    """Size, mode and hash of a picture, and whether it has two colours only, as a mask has."""

    record: Record
    size: str
    mode: str
    is_like_mask: bool
    sha256: str  # hash of the pixels: the same picture in another format is a copy


def check(records: list[Record]) -> list[str]:
    """Read every picture and mask once, and report faults.

    Args:
        records: training and test pictures of one category.

    Returns:
        Warnings about usable data: copies, mixed sizes and modes, masks of nothing or of nearly everything.

    Raises:
        ValueError: unusable data, listed in one message: unreadable files, masks of another size, too few
            good pictures, good pictures that are all the same, masks among good pictures.
    """
    seen: list[Seen] = []
    errors: list[str] = []
    warnings: list[str] = []
    covering: list[tuple[Path, float]] = []
    for record in tqdm(records, desc="checking pictures", unit="picture", leave=False, disable=None):
        try:
            found, shape = _look_at(record)
            seen.append(found)
            if record.mask is not None:
                covered = float(read_mask(record.mask, shape).mean())
                if covered == 0:
                    warnings.append(f"`{record.mask}` is black, but its picture counts as defective")
                elif covered > MASK_MOST:
                    covering.append((record.mask, covered))
        except (ImageError, FileNotFoundError) as error:
            errors.append(str(error))
    good = [found for found in seen if found.record.split == "train"]
    errors += _faults_of_good(good)
    if errors:
        listed = "\n  ".join(errors)
        raise ValueError(f"the data has {len(errors)} faults; repair or remove these files:\n  {listed}")
    if covering:
        mask, covered = max(covering, key=lambda pair: pair[1])
        warnings.append(
            f"{len(covering)} masks cover most of their pictures, such as `{mask}` ({covered:.0%}): white "
            "marks the defect; invert them if it marks the good part"
        )
    warnings += _copies(seen)
    warnings += _mixture(good, "sizes", lambda found: found.size)
    warnings += _mixture(good, "modes", lambda found: found.mode)
    return warnings


def _faults_of_good(good: list[Seen]) -> list[str]:
    """Report good pictures that are too few, all the same, or masks."""
    faults: list[str] = []
    if len(good) < LEAST_GOOD:
        named = ", ".join(f"`{found.record.image}`" for found in good) or "none"
        faults.append(
            f"only {len(good)} good pictures can be used ({named}); {LEAST_GOOD} are the least to train, "
            "validate and calibrate"
        )
    elif len({found.sha256 for found in good}) == 1:
        faults.append(f"all {len(good)} good pictures are the same, such as `{good[0].record.image}`")
    masks = [found for found in good if found.is_like_mask]
    if len(masks) <= len(good) / 2:  # else the camera itself sees black and white
        faults += [
            f"`{found.record.image}` has two colours, like a mask, and counts as good" for found in masks
        ]
    return faults


def read_part(path: Path) -> np.ndarray:
    """Read a picture of a part: float32 [H,W,3] in [0, 1], 65535 of a 16-bit picture for 1.

    Raises:
        ImageError: it cannot be read, or shows nothing.
        FileNotFoundError: no such file.
    """
    pixels = read_image(path, bit_depth=16)  # any scale will do to compare pictures
    check_shows_something(pixels, f"`{path}`")
    return pixels


def _look_at(record: Record) -> tuple[Seen, tuple[int, int]]:
    pixels = read_part(record.image)
    height, width = pixels.shape[:2]
    with Image.open(record.image, formats=IMAGE_FORMATS) as picture:
        mode = picture.mode
    low, high = pixels.min(), pixels.max()
    is_like_mask = bool(low < high and ((pixels == low) | (pixels == high)).all())
    digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data).hexdigest()
    return Seen(record, f"{width} x {height}", mode, is_like_mask, digest), (height, width)


def _copies(seen: list[Seen]) -> list[str]:
    """Report pictures with the same pixels, within a split or across the two."""
    warnings: list[str] = []
    first: dict[str, Record] = {}
    for found in seen:
        twin = first.setdefault(found.sha256, found.record)
        record = found.record
        if twin is record:
            continue
        if twin.split != record.split:
            warnings.append(
                f"`{record.image}` of the test is also in training, as `{twin.image}`: "
                "its score means nothing"
            )
        elif twin.label != record.label:
            warnings.append(f"`{record.image}` and `{twin.image}` are the same, one good and one defective")
        else:
            warnings.append(f"`{record.image}` is a copy of `{twin.image}`")
    return warnings


def _mixture(seen: list[Seen], name: str, of: Callable[[Seen], str]) -> list[str]:
    """Report differing good pictures in one warning, which names the unusual ones if they are few."""
    counts = Counter(of(found) for found in seen)
    usual = counts.most_common(1)[0][0]
    unusual = [found.record.image for found in seen if of(found) != usual]
    if not unusual:
        return []
    if len(unusual) <= NAMED_AT_MOST:
        named = ", ".join(f"`{path}`" for path in unusual)
        return [f"good pictures of {len(counts)} {name}: {counts[usual]} are {usual}, but not {named}"]
    frequent = ", ".join(f"{value} ({count})" for value, count in counts.most_common(5))
    return [f"good pictures of {len(counts)} {name}: {frequent}{', ...' if len(counts) > 5 else ''}"]
