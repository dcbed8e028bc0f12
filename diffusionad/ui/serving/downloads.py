"""Files to download of an inspection: a comparison to show around; overlay, mask, map and figures."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.inspection.panel import panel
from diffusionad.ui.serving.files import png_bytes
from diffusionad.ui.serving.inspection_state import Inspection

MAX_UINT16 = 65535
GIF_SIDE, GIF_MILLISECONDS = 480, 900

Encoder = Callable[[Inspection, float, str], bytes]


def overlay_png(inspection: Inspection, opacity: float, colormap: str) -> bytes:
    """Return the picture with heat map and contours."""
    return png_bytes(inspection.draw_at_full_size(opacity, colormap))


def mask_png(inspection: Inspection, *_: object) -> bytes:
    """Return the mask, [H,W] grey, 0 or 255."""
    return png_bytes(Image.fromarray(inspection.mask.astype(np.uint8) * 255))


def map_png(inspection: Inspection, *_: object) -> bytes:
    """Return the anomaly map, [H,W] 16-bit grey, 65535 for 1."""
    return png_bytes(Image.fromarray((inspection.anomaly_map * MAX_UINT16 + 0.5).astype(np.uint16)))


def figures_json(inspection: Inspection, *_: object) -> bytes:
    """Return the verdict, the regions, and the model and settings behind them."""
    figures = {
        "verdict": inspection.verdict.word,
        **asdict(inspection.verdict),
        "regions": [asdict(region) for region in inspection.regions],
        "width": inspection.anomaly_map.shape[1],
        "height": inspection.anomaly_map.shape[0],
        "model": inspection.model,
        "settings": inspection.json_settings(),
        "device": inspection.device,
        "seconds": round(inspection.seconds, 4),
    }
    return json.dumps(figures, indent=2).encode()


def comparison_png(inspection: Inspection, opacity: float, colormap: str) -> bytes:
    """Return picture, repaired part, map and overlay side by side under the verdict."""
    tiles = inspection.picture, inspection.repaired, *inspection.shown(inspection.picture)
    name = Path(inspection.path).name
    return png_bytes(panel(*tiles, inspection.verdict, name, colormap, opacity))


def before_after_gif(inspection: Inspection, *_: object) -> bytes:
    """Return an animation that turns from the picture to the repaired part and back."""
    frames = [inspection.picture.copy(), inspection.repaired.copy()]
    for frame in frames:
        frame.thumbnail((GIF_SIDE, GIF_SIDE))
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=GIF_MILLISECONDS, loop=0)
    return file.getvalue()


# Button -> (end of the file's name, its encoder).
DOWNLOADS: dict[str, tuple[str, Encoder]] = {
    "Comparison (PNG)": ("comparison.png", comparison_png),
    "Before and after (GIF)": ("before_after.gif", before_after_gif),
    "Overlay (PNG)": ("overlay.png", overlay_png),
    "Mask (PNG)": ("mask.png", mask_png),
    "Map (16-bit PNG)": ("map.png", map_png),
    "Figures (JSON)": ("figures.json", figures_json),
}


def download_name(inspection: Inspection, ending: str) -> str:
    """Return the name of a file to download: `part_mask.png` for `part.jpg`."""
    return f"{Path(inspection.path).stem}_{ending}"
