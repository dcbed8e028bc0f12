"""Marks on a drawn picture: darkness outside the region of interest, numbers beside regions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusionad.inspection.visualize import CONTOUR, HALO
from diffusionad.postprocessing.regions import Region

MAX_NUMBERED = 10  # regions with a number in the picture, as in the table
BRIGHTNESS_OUTSIDE = 0.35  # share of the brightness that is left outside the region of interest


def darken_outside(picture: Image.Image, inside: np.ndarray) -> Image.Image:
    """Darken a picture outside the region of interest.

    Args:
        picture: RGB.
        inside: bool [H',W'], of any size.
    """
    seen = Image.fromarray(inside).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture, picture.point(lambda value: value * BRIGHTNESS_OUTSIDE), seen)


def number_regions(drawn: Image.Image, regions: Sequence[Region], width: int) -> Image.Image:
    """Write the number of each region beside it, where there are several.

    Args:
        drawn: is changed.
        regions: in pixels of the inspected picture.
        width: of the inspected picture, pixels.
    """
    if len(regions) < 2:
        return drawn
    scale = drawn.width / width
    size = max(10, round(max(drawn.size) / 40))
    font, draw = ImageFont.load_default(size=size), ImageDraw.Draw(drawn)
    for number, region in enumerate(regions[:MAX_NUMBERED], 1):
        left, top, right, bottom = (scale * edge for edge in region.box)
        box_width = font.getlength(str(number)) + size / 2
        has_room = right + box_width < drawn.width
        x = min(right + size / 3, drawn.width - box_width) if has_room else left - box_width
        x, y = max(x, 0), min(max((top + bottom - size) / 2, 0), drawn.height - 1.2 * size)
        draw.rounded_rectangle((x, y, x + box_width, y + 1.2 * size), size / 4, HALO)
        draw.text((x + box_width / 2, y + 0.6 * size), str(number), CONTOUR, font, "mm")
    return drawn
