"""Small data sets in the layouts of published ones, for several tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, grey: int = 90, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.arange(size[1], dtype=np.uint8)  # of one grey it would show nothing
    Image.fromarray(np.full(size, grey, np.uint8) + ramp).save(path)
    return path


def mask(path: Path, value: int = 255, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(size, np.uint8)
    array[3, 4:7] = value
    Image.fromarray(array).save(path)
    return path


def dagm(folder: Path) -> Path:
    for half, first in (("Train", 576), ("Test", 1)):
        lines = ["1"]
        for i in range(first, first + 4):
            name, is_defective = f"{i:04d}", i % 4 == 1
            picture(folder / half / f"{name}.PNG")
            label = "0"
            if is_defective:
                label = mask(folder / half / f"Label/{name}_label.PNG").name
            lines.append(f"{i}\t{int(is_defective)}\t{name}.PNG\t0\t{label}")
        (folder / half / "Label/Labels.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    (folder / "Train/Thumbs.db").write_bytes(b"x")
    return folder
