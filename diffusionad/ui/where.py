"""Where the model looks: a region that the visitor paints over the picture."""

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from diffusionad.image_io import resize
from diffusionad.ui.files import Upload, png_bytes, read_upload, uploaded, written
from diffusionad.ui.result_view import LIGHT

CANVAS_SIDE = 512  # pixels, at most; a region needs no more

EVERYWHERE = "Paint over what is to be inspected. While nothing is painted, that is everything."
PAINTED = "The model will look at {share} of the picture: press Inspect."


class WhereToLook:
    """Layout and events; `roi` holds this visitor's region, [H,W] bool, or None."""

    def __init__(self) -> None:
        self.roi = gr.State(None)
        with gr.Accordion("Where to look", open=False, elem_id="where") as self.accordion:
            self.note = gr.HTML(_note(None), elem_id="where-note")
            self.canvas = gr.ImageEditor(
                sources=[],
                transforms=[],
                layers=False,
                brush=gr.Brush(default_size=36, colors=[("#00E5FF", 0.5)], color_mode="fixed"),
                eraser=gr.Eraser(default_size=36),
                show_label=False,
                buttons=[],
                height=380,
                elem_id="roi",
            )
            self.reset = gr.Button("Look everywhere again", size="sm", elem_id="roi-reset")

    def connect(self, picture: gr.Image) -> None:
        """Once the picture is there."""
        laid_out = {"outputs": [self.canvas, self.roi, self.note], "preprocess": False, **LIGHT}
        self.accordion.expand(self.lay_out, [picture, self.roi], **laid_out)
        self.reset.click(self.lay_out, picture, **laid_out)
        self.canvas.input(
            self.take,
            self.canvas,
            [self.roi, self.note],
            preprocess=False,
            trigger_mode="always_last",
            **LIGHT,
        )

    def lay_out(self, picture: Upload | None, roi: np.ndarray | None = None) -> tuple:
        """The present picture, with nothing painted on it; what was painted before stays."""
        if roi is not None:
            return gr.skip(), gr.skip(), gr.skip()
        if picture is None:
            return None, None, _note(None)
        pixels = read_upload(picture)
        scale = min(1, CANVAS_SIDE / max(pixels.shape[:2]))
        size = [max(1, round(scale * side)) for side in pixels.shape[:2]]
        background = (resize(pixels, size) * 255).round().clip(0, 255).astype(np.uint8)
        # Gradio would write it in place, under the eyes of the next visitor with this picture.
        path = written(png_bytes(Image.fromarray(background)), "where.png")
        return {"background": path, "layers": [], "composite": path}, None, _note(None)

    def take(self, canvas: dict[str, Any] | None) -> tuple:
        """What was painted."""
        layers = (canvas or {}).get("layers") or []
        painted = [_painted(layer) for layer in layers if layer]
        roi = np.logical_or.reduce(painted) if painted else None
        roi = roi if roi is not None and roi.any() else None
        return roi, _note(roi)


def _painted(layer: Upload) -> np.ndarray:
    """[H,W] bool, where a layer covers what is below it."""
    with uploaded(layer) as path, Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def _note(roi: np.ndarray | None) -> str:
    text = EVERYWHERE if roi is None else PAINTED.format(share=f"{100 * roi.mean():.0f} %")
    return f'<p class="note" role="status">{text}</p>'
