"""A side-by-side panel of one picture under its verdict; Pillow only."""

import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusionad.inspection.visualize import (
    BACKGROUND,
    DEFAULT_COLORMAP,
    DEFECTIVE,
    GOOD,
    MUTED,
    TEXT,
    UNKNOWN,
    check_size,
    color_table,
    colorize,
    draw_contours,
    overlay,
    to_pil,
)
from diffusionad.postprocessing.verdict import Verdict


def panel(
    image: Image.Image | np.ndarray,
    repaired: Image.Image | np.ndarray,
    anomaly_map: np.ndarray,
    mask: np.ndarray,
    verdict: Verdict,
    title: str = "",
    colormap: str = DEFAULT_COLORMAP,
    opacity: float = 0.55,
    tile_size: int = 320,
) -> Image.Image:
    """Draw picture, repaired part, heat map and overlay side by side under the verdict.

    Args:
        image: PIL image, or [H,W,3] float in [0, 1] or uint8.
        repaired: the same without the defect, of any size.
        anomaly_map: [H,W] in [0, 1], of the picture's size.
        mask: [H,W] bool, of the picture's size.
        verdict: for the headline.
        title: small line above, such as the file's name.
        colormap: one of `COLORMAPS`; its middle is at the threshold.
        opacity: of the heat map in the overlay, in [0, 1].
        tile_size: height of the four pictures, pixels (less when they are very wide); text grows with it.

    Returns:
        RGB image, a little more than four tiles wide.

    Raises:
        ValueError: sizes that differ, values out of range, an unknown colour map.
    """
    picture = to_pil(image)
    check_size("anomaly_map", anomaly_map, picture)
    check_size("mask", mask, picture)
    unit = tile_size / 320
    scale = min(tile_size / picture.height, 1.25 * tile_size / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))

    # Map and mask are drawn at the size of the tile: a contour keeps its width, a single pixel its contour.
    small = picture.resize(size, Image.Resampling.LANCZOS)
    small_map = np.asarray(
        Image.fromarray(anomaly_map.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    ).clip(0, 1)
    covered = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    small_mask = covered > min(1, scale) ** 2 / 5  # a pixel may be shared out among four, not among more
    blended = overlay(small, small_map, opacity, colormap, verdict.threshold)
    tiles = {
        "picture": small,
        "what it should look like": to_pil(repaired).resize(size, Image.Resampling.BICUBIC),
        "anomaly map": Image.fromarray(colorize(small_map, colormap, verdict.threshold)),
        "what was found": draw_contours(blended, small_mask, width=max(1, round(2 * unit))),
    }
    if verdict.is_known is False:  # the model cannot say what it should look like
        del tiles["what it should look like"]
    return _compose(tiles, _color_bar(colormap, verdict.threshold, size[1], unit), verdict, title, unit)


def _compose(
    tiles: dict[str, Image.Image], bar: Image.Image, verdict: Verdict, title: str, unit: float
) -> Image.Image:
    """Draw headline, tiles, the colour bar beside the heat map, captions."""
    margin, gap = round(20 * unit), round(14 * unit)
    caption_font, headline_font = (ImageFont.load_default(size=n * unit) for n in (15, 18))
    pill_text = verdict.label.upper()
    pill_width = headline_font.getlength(pill_text) + 28 * unit
    headline = verdict.details[:1].upper() + verdict.details[1:]

    widths = {name: max(tile.width, round(caption_font.getlength(name))) for name, tile in tiles.items()}
    widths["anomaly map"] += round(6 * unit) + bar.width
    tiles_width = sum(widths.values()) + gap * (len(tiles) - 1)
    headline_width = round(pill_width + gap + headline_font.getlength(headline))
    content_width = max(tiles_width, headline_width)
    title_height = round(26 * unit) if title else 0
    tiles_top = margin + title_height + round(36 * unit) + gap
    tiles_height = max(next(iter(tiles.values())).height, bar.height)
    height = tiles_top + tiles_height + round(28 * unit) + margin // 2

    canvas = Image.new("RGB", (content_width + 2 * margin, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((margin, margin), _fit(title, caption_font, content_width), MUTED, caption_font, "la")
    y = margin + title_height + 18 * unit
    draw.rounded_rectangle(
        (margin, y - 17 * unit, margin + pill_width, y + 17 * unit),
        radius=17 * unit,
        fill={"defective": DEFECTIVE, "good": GOOD}.get(verdict.word, UNKNOWN),
    )
    draw.text((margin + pill_width / 2, y), pill_text, BACKGROUND, headline_font, "mm")
    draw.text((margin + pill_width + gap, y), headline, TEXT, headline_font, "lm")
    x = margin + (content_width - tiles_width) // 2
    for name, tile in tiles.items():
        canvas.paste(tile, (x, tiles_top))
        if name == "anomaly map":
            canvas.paste(bar, (x + tile.width + round(6 * unit), tiles_top))
        draw.text((x, tiles_top + tiles_height + 8 * unit), name, MUTED, caption_font, "la")
        x += widths[name] + gap
    return canvas


def _color_bar(colormap: str, threshold: float, height: int, unit: float) -> Image.Image:
    """Draw the scale of the heat map: 0 at the bottom, the threshold in the middle, 1 at the top."""
    font = ImageFont.load_default(size=13 * unit)
    height = max(height, round(60 * unit))  # room for the three figures beside a very wide picture
    labels = {"1": 0.0, f"{threshold:.2f}": 0.5, "0": 1.0}
    strip = round(10 * unit)
    width = strip + round(8 * unit + max(map(font.getlength, labels)))
    bar = Image.new("RGB", (width, height), BACKGROUND)
    colors = color_table(colormap)[np.linspace(255, 0, height).round().astype(int)]  # [height,3]
    bar.paste(Image.fromarray(np.repeat(colors[:, None], strip, axis=1)), (0, 0))
    draw = ImageDraw.Draw(bar)
    for text, place in labels.items():
        y = min(max(place * height, 6 * unit), height - 6 * unit)
        draw.text((strip + 6 * unit, y), text, MUTED, font, "lm")
    draw.line((0, height / 2, strip + 3 * unit, height / 2), TEXT, max(1, round(unit)))
    return bar


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Return `text` in letters of Pillow's own font, its beginning cut off where it is too long."""
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c if c.isascii() else "?" for c in text if not unicodedata.combining(c))
    while font.getlength(text) > width and len(text) > 4:
        text = "..." + text[4:]
    return text
