"""Files to download of an inspection: overlay, mask, map and figures, at the picture's size."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.ui.serving.files import png_bytes
from diffusionad.ui.serving.inspection_state import Inspection

MAX_UINT16 = 65535

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


# Button -> (end of the file's name, its encoder).
DOWNLOADS: dict[str, tuple[str, Encoder]] = {
    "Overlay (PNG)": ("overlay.png", overlay_png),
    "Mask (PNG)": ("mask.png", mask_png),
    "Map (16-bit PNG)": ("map.png", map_png),
    "Figures (JSON)": ("figures.json", figures_json),
}


def download_name(inspection: Inspection, ending: str) -> str:
    """Return the name of a file to download: `part_mask.png` for `part.jpg`."""
    return f"{Path(inspection.path).stem}_{ending}"
