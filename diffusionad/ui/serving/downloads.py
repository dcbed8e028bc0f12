"""What a visitor may take home of an inspection: overlay, mask, map and figures, at the picture's size."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.ui.serving.files import png_bytes
from diffusionad.ui.serving.inspection_state import Inspected

MAX_UINT16 = 65535


def overlay_png(inspected: Inspected, opacity: float, colormap: str) -> bytes:
    """The picture with heat map and contours."""
    return png_bytes(inspected.draw_at_full_size(opacity, colormap))


def mask_png(inspected: Inspected, *_: object) -> bytes:
    """[H,W] grey, exactly 0 or 255."""
    return png_bytes(Image.fromarray(inspected.mask.astype(np.uint8) * 255))


def map_png(inspected: Inspected, *_: object) -> bytes:
    """[H,W] 16-bit grey, 65535 is 1."""
    return png_bytes(Image.fromarray((inspected.anomaly_map * MAX_UINT16 + 0.5).astype(np.uint16)))


def figures_json(inspected: Inspected, *_: object) -> bytes:
    """Verdict, regions and what they were made with."""
    figures = {
        "verdict": inspected.verdict.word,
        **asdict(inspected.verdict),
        "regions": [asdict(region) for region in inspected.regions],
        "width": inspected.anomaly_map.shape[1],
        "height": inspected.anomaly_map.shape[0],
        "model": inspected.model,
        "settings": inspected.plain_settings(),
        "device": inspected.device,
        "seconds": round(inspected.seconds, 4),
    }
    return json.dumps(figures, indent=2).encode()


# Button -> (end of the file's name, what writes it).
DOWNLOADS = {
    "Overlay (PNG)": ("overlay.png", overlay_png),
    "Mask (PNG)": ("mask.png", mask_png),
    "Map (16-bit PNG)": ("map.png", map_png),
    "Figures (JSON)": ("figures.json", figures_json),
}


def file_name(inspected: Inspected, ending: str) -> str:
    """`part_mask.png` for `part.jpg`."""
    return f"{Path(inspected.path).stem}_{ending}"
