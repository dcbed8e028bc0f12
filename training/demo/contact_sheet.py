"""An overview of the demo data: good pictures, and each defect with its outline and its clean twin."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from .render import RenderedSample

_GAP, _LABEL = 6, 18
_PAPER, _TEXT, _OUTLINE = (250, 250, 248), (40, 40, 40), (255, 64, 32)


def contact_sheet(
    good: "dict[str, list[RenderedSample]]", defective: "dict[str, list[RenderedSample]]"
) -> Image.Image:
    """One sheet for all categories: four rows each, a column for each defect.

    Args:
        good: category -> good samples.
        defective: category -> one sample of each defect.

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


def _outlined(sample: "RenderedSample") -> np.ndarray:
    """The picture with a line around the mask, just outside of it, so that the defect stays visible."""
    inside = np.pad(sample.mask > 0, 2)
    around = np.zeros_like(inside)
    for d_y, d_x in ((-2, 0), (2, 0), (0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        around |= np.roll(inside, (d_y, d_x), axis=(0, 1))
    line = (around & ~inside)[2:-2, 2:-2]
    return np.where(line[..., None], np.array(_OUTLINE, np.uint8), sample.image)
