"""Findings drawn for the eye: heat map, overlay, contours. Free of torch; `panel.py` puts them side by side.

Colours are told apart by brightness first, so that they survive colour blindness and a grey printer.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes, generate_binary_structure

from diffusionad.images.image_io import check_unit_range, read_image

# 32 evenly spaced colours a map, between which `colorize` interpolates: within 2/255 of matplotlib's tables.
# inferno, magma, viridis: Nathaniel Smith and Stefan van der Walt, CC0. turbo: Anton Mikhailov, Google,
# Apache 2.0.
COLORMAPS = {
    "inferno": (
        "000004 040313 0b0725 160b39 220c4c 310a5c 3f0a66 4d0c6b 5a116e 67166e 741b6e 811f6c 8e2469 "
        "9b2964 a82e5f b53358 c13a51 cc4248 d74b3f e05536 e8612c ef6d22 f57b17 f8890c fb9806 fca80d "
        "fbb81c f9c830 f6d847 f2e763 f3f585 fcffa4"
    ),
    "magma": (
        "000004 040312 0b0823 140e35 1e1149 2a115d 38106d 461077 54137d 601880 6d1e81 7a2382 872781 "
        "942c80 a2307e af347b bd3977 ca3e72 d6456c e24d66 ec5860 f3655c f8745c fb8360 fd9366 fea26f "
        "feb27a fec185 fed093 fddfa1 fceeb0 fcfdbf"
    ),
    "viridis": (
        "440154 470d60 48196b 482474 472e7c 453882 414286 3e4b89 3a548c 365d8d 32658e 2e6d8e 2b758e "
        "287d8e 25858e 228c8d 20948c 1e9c89 20a386 25ab82 2db27d 39ba76 48c16e 58c765 6acd5b 7ed34f "
        "92d742 a8db34 bedf26 d4e21b e9e41a fde725"
    ),
    "turbo": (
        "30123b 3a2a74 4042a4 4558ca 476ee6 4683f8 4097ff 34acf8 25c0e7 1ad2d2 18e0bd 24eca8 3bf58f "
        "59fb73 79fe59 97fe44 aefa37 c3f234 d7e535 e8d639 f4c63a fcb437 fe9e2f fc8624 f76d1a ee5610 "
        "e2430a d43305 c22403 ad1801 950d01 7a0403"
    ),
}
DEFAULT_COLORMAP = "inferno"
SAFE_COLORMAPS = ("inferno", "magma", "viridis")  # for the colour-blind

# Colours and opacities are worked out for these values and looked up for the pixels: pictures have millions.
LEVELS = np.linspace(0, 1, 65536)

CROSS, SQUARE = generate_binary_structure(2, 1), generate_binary_structure(2, 2)  # [3,3] bool each

Color = tuple[int, int, int]

CONTOUR: Color = (0, 229, 255)  # cyan: in no colour of inferno, nor in most materials
HALO: Color = (8, 12, 20)  # around every contour: it is what shows on a light picture
BACKGROUND: Color = (20, 23, 28)
TEXT: Color = (242, 244, 247)
MUTED: Color = (154, 164, 178)
DEFECTIVE: Color = (240, 110, 40)  # orange and teal stay apart for the colour-blind, red and green do not
GOOD: Color = (38, 166, 154)
UNKNOWN: Color = (160, 168, 178)


def colorize(
    anomaly_map: np.ndarray, colormap: str = DEFAULT_COLORMAP, threshold: float | None = None
) -> np.ndarray:
    """Return the colours of an anomaly map.

    Args:
        anomaly_map: [H,W] in [0, 1].
        colormap: one of `COLORMAPS`.
        threshold: gets the middle colour, whatever its value: a map of small values stays readable, and the
            upper half of the colours means "defective". None leaves the map as it is.

    Returns:
        [H,W,3] uint8 RGB.

    Raises:
        ValueError: unknown colour map, values outside [0, 1], a shape that is not [H,W].
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"`colormap` is {colormap!r}; use one of {', '.join(COLORMAPS)}.")
    values = LEVELS
    if threshold is not None:
        values = np.interp(LEVELS, [0, max(threshold, 1e-6), 1 + 1e-6], [0, 0.5, 1])
    return color_table(colormap)[(values * 255).round().astype(np.uint8)][_to_levels(anomaly_map)]


def overlay(
    image: Image.Image | np.ndarray,
    anomaly_map: np.ndarray,
    opacity: float = 0.5,
    colormap: str = DEFAULT_COLORMAP,
    threshold: float | None = None,
) -> Image.Image:
    """Lay the heat map over the picture, transparent where nothing was found.

    Args:
        image: PIL image, or [H,W,3] float in [0, 1] or uint8.
        anomaly_map: [H,W] in [0, 1], of the picture's size.
        opacity: of the heat map where it is strongest, in [0, 1].
        colormap: one of `COLORMAPS`.
        threshold: where the map reaches full opacity and the middle colour; None: at 1, in proportion.

    Returns:
        RGB image of the picture's size.

    Raises:
        ValueError: sizes that differ, values out of range, an unknown colour map.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"`opacity` is {opacity!r}; give a number in 0..1.")
    picture = to_pil(image)
    heat = Image.fromarray(colorize(anomaly_map, colormap, threshold))
    check_size("anomaly_map", anomaly_map, picture)
    # Squared below the threshold: what is nearly normal should tint the picture hardly at all.
    weight = LEVELS if threshold is None else np.minimum(LEVELS / max(threshold, 1e-6), 1) ** 2
    alpha = (opacity * 255 * weight).round().astype(np.uint8)[_to_levels(anomaly_map)]  # [H,W]
    return Image.composite(heat, picture, Image.fromarray(alpha))


def draw_contours(
    image: Image.Image | np.ndarray,
    mask: np.ndarray,
    color: Color = CONTOUR,
    width: int | None = None,
) -> Image.Image:
    """The picture with a line around every masked region.

    The line lies outside the region, around its outer edge only, so that even a defect of one pixel stays
    visible, but inside the picture, so that a region at the edge is closed, too. A dark seam on its outer
    side sets it off.

    Args:
        image: PIL image, or [H,W,3] float in [0, 1] or uint8.
        mask: [H,W] bool, of the picture's size.
        color: RGB, 0..255.
        width: of the line, pixels; None grows with the picture: 2, and more above 1500 pixels.

    Returns:
        RGB image of the picture's size.

    Raises:
        ValueError: sizes that differ, or a width below 1.
    """
    picture = to_pil(image)
    check_size("mask", mask, picture)
    width = max(2, round(max(mask.shape) / 600)) if width is None else width
    if width < 1:
        raise ValueError(f"`width` is {width!r}; give at least 1 pixel.")
    line, seam = _contour(binary_fill_holes(mask), width)  # a hole is no second defect
    pixels = np.array(picture)  # [H,W,3] uint8, a copy
    pixels[seam] = HALO
    pixels[line] = color
    return Image.fromarray(pixels)


def color_table(colormap: str) -> np.ndarray:
    """Return the colours of a map from 0 to 1, [256,3] uint8."""
    anchors = np.array([list(bytes.fromhex(color)) for color in COLORMAPS[colormap].split()])  # [32,3]
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def _contour(mask: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the line of `width` around a mask and the thinner seam around the line, [H,W] bool each."""
    core = np.zeros_like(mask)  # mask without the picture's edge, where the line runs inside of it
    core[width:-width, width:-width] = mask[width:-width, width:-width]
    grown = _dilate(mask, width)
    seam = _dilate(grown, max(1, width // 2)) & ~grown
    return grown & ~core, seam


def _dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a mask by an octagon: as many squares as crosses of 3 x 3, one square more for an odd radius."""
    grown = binary_dilation(mask, SQUARE, iterations=(radius + 1) // 2)
    # SciPy would repeat 0 iterations until nothing changes.
    return binary_dilation(grown, CROSS, iterations=radius // 2) if radius > 1 else grown


def to_pil(image: Image.Image | np.ndarray) -> Image.Image:
    """Return an RGB image, read like any other picture, so that the overlay shows what the model saw."""
    if isinstance(image, Image.Image) and image.mode == "RGB" and not image.info:
        return image  # nothing to interpret, such as a rotation or a transparent colour
    return Image.fromarray((read_image(image) * 255 + 0.5).astype(np.uint8))


def _to_levels(anomaly_map: np.ndarray) -> np.ndarray:
    """Return positions in `LEVELS`, [H,W] uint16."""
    if anomaly_map.ndim != 2:
        raise ValueError(f"`anomaly_map` has shape {anomaly_map.shape}; give [H,W].")
    check_unit_range(anomaly_map, "`anomaly_map`")
    return (anomaly_map * (len(LEVELS) - 1) + 0.5).astype(np.uint16)


def check_size(name: str, array: np.ndarray, image: Image.Image) -> None:
    """Raise a ValueError where a map or mask, [H,W], differs in size from its picture."""
    if array.shape != (image.height, image.width):
        raise ValueError(
            f"`{name}` has shape {array.shape}, the picture is {image.height} x {image.width}; "
            "resize one of them, so that they cover each other."
        )
