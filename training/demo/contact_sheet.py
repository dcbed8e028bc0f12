"""An overview of the demo data: good pictures, and each defect with its outline and its clean twin."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .sample import CATEGORIES, DEFECTS, RenderedSample, render

_GAP, _LABEL = 6, 18
_PAPER, _TEXT, _OUTLINE = (250, 250, 248), (40, 40, 40), (255, 64, 32)


def contact_sheet(
    good: dict[str, list[RenderedSample]], defective: dict[str, list[RenderedSample]]
) -> Image.Image:
    """Lay out all categories on one sheet: four rows each, a column for each defect.

    Args:
        good: good samples of each category.
        defective: one sample of each defect, for each category.

    Returns:
        A picture as wide as the longest row.
    """
    rows: list[tuple[list[str], list[np.ndarray]]] = []
    for category, samples in good.items():
        found = defective[category]
        names = [str(sample.defect) for sample in found]
        rows += [
            ([f"{category}: good"] * len(samples), [sample.image for sample in samples]),
            (names, [sample.image for sample in found]),
            ([f"{name}, outlined" for name in names], [_outlined(sample) for sample in found]),
            ([f"{name}, clean twin" for name in names], [sample.clean for sample in found]),
        ]
    cell = rows[0][1][0].shape[0]
    width = max(len(pictures) for _, pictures in rows) * (cell + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(rows) * (cell + _LABEL + _GAP) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (labels, pictures) in enumerate(rows):
        top = _GAP + i * (cell + _LABEL + _GAP)
        for j, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
            left = _GAP + j * (cell + _GAP)
            pen.text((left, top + 3), label, fill=_TEXT)
            sheet.paste(Image.fromarray(picture), (left, top + _LABEL))
    return sheet


def _outlined(sample: RenderedSample) -> np.ndarray:
    """Return the picture with a line just outside the mask, so that the defect stays visible."""
    inside = np.pad(sample.mask > 0, 2)
    around = np.zeros_like(inside)
    for d_y, d_x in ((-2, 0), (2, 0), (0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        around |= np.roll(inside, (d_y, d_x), axis=(0, 1))
    line = (around & ~inside)[2:-2, 2:-2]
    return np.where(line[..., None], np.array(_OUTLINE, np.uint8), sample.image)


def write_contact_sheet(path: Path, seed: int) -> None:
    """Render the samples of both categories and write their contact sheet."""
    good = {
        name: [render(name, "test", index, seed) for index in range(len(DEFECTS[name]))]
        for name in CATEGORIES
    }
    defective = {
        name: [render(name, "test", 0, seed, defect=defect) for defect in DEFECTS[name]]
        for name in CATEGORIES
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(good, defective).save(path, optimize=True, quality=88)
