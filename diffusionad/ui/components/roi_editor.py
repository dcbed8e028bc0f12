"""Where the model looks: a region that the visitor paints over the picture."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from gradio.events import Dependency
from PIL import Image

from diffusionad.images.image_io import resize
from diffusionad.ui.components.page import Page, Visit
from diffusionad.ui.components.result_view import LIGHT
from diffusionad.ui.serving.files import Upload, png_bytes, read_upload, uploaded, written

PAINT, OPACITY = "#00E5FF", 0.5
CANVAS_SIDE = 512  # pixels, at most; a region needs no more

EVERYWHERE = "Paint over what is to be inspected. While nothing is painted, that is everything."
OWN = (
    "Paint over what is to be inspected. While nothing is painted, it is what this model was set to look at."
)
PAINTED = "The model will look at {share} of the picture: press Inspect."


class WhereToLook:
    """Layout and events; `roi` holds this visitor's region, [H,W] bool, or None.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.roi = gr.State(None)
        self.is_open = gr.State(False)  # a canvas that cannot be seen takes no picture
        with gr.Accordion("Where to look", open=False, elem_id="where") as self.accordion:
            self.note = gr.HTML(note(EVERYWHERE), elem_id="where-note")
            self.canvas = gr.ImageEditor(
                sources=[],
                transforms=[],
                layers=False,
                brush=gr.Brush(default_size=36, colors=[(PAINT, OPACITY)], color_mode="fixed"),
                eraser=gr.Eraser(default_size=36),
                show_label=False,
                buttons=[],
                height=380,
                elem_id="roi",
            )
            self.reset = gr.Button("Look everywhere again", size="sm", elem_id="roi-reset")

    def connect(self, picture: gr.Image, others: Sequence[Dependency]) -> None:
        """Once the picture is there.

        Args:
            picture: to be painted over.
            others: events that may have changed picture or region.
        """
        visit = self.page.visit
        follow = {
            "fn": self.follow,
            "inputs": [self.is_open, picture, self.roi, visit],
            "outputs": [self.canvas, self.note],
            "preprocess": False,
            **LIGHT,
        }
        self.accordion.expand(lambda: True, None, self.is_open, **LIGHT).then(**follow)
        self.accordion.collapse(lambda: False, None, self.is_open, **LIGHT)
        self.reset.click(lambda: None, None, self.roi, **LIGHT).then(**follow)
        # Not picture.change: listening to it, Gradio's camera took no photo any more.
        for event in others:
            event.then(**follow)
        self.canvas.input(
            self.take,
            [self.canvas, visit],
            [self.roi, self.note],
            preprocess=False,
            trigger_mode="always_last",
            **LIGHT,
        )

    def follow(self, is_open: bool, picture: Upload | None, roi: np.ndarray | None, visit: Visit) -> tuple:
        """The present picture below what is painted; a region stays when the picture is another one."""
        return self.lay_out(picture, roi) if is_open else gr.skip(), self._note(roi, visit)

    def lay_out(self, picture: Upload | None, roi: np.ndarray | None) -> dict[str, Any] | None:
        """What the canvas shows of a picture and a region."""
        if picture is None:
            return None
        pixels = read_upload(picture)
        scale = min(1, CANVAS_SIDE / max(pixels.shape[:2]))
        size = [max(1, round(scale * side)) for side in pixels.shape[:2]]
        background = (resize(pixels, size) * 255).round().clip(0, 255).astype(np.uint8)
        # Gradio would write it in place, under the eyes of the next visitor with this picture.
        path = written(png_bytes(Image.fromarray(background)), "where.png")
        layers = [] if roi is None else [written(png_bytes(_layer(roi, size)), "region.png")]
        return {"background": path, "layers": layers, "composite": path}

    def take(self, canvas: dict[str, Any] | None, visit: Visit) -> tuple:
        """What was painted."""
        layers = (canvas or {}).get("layers") or []
        painted = [_painted(layer) for layer in layers if layer]
        roi = np.logical_or.reduce(painted) if painted else None
        roi = roi if roi is not None and roi.any() else None
        return roi, self._note(roi, visit)

    def _note(self, roi: np.ndarray | None, visit: Visit) -> str:
        if roi is not None:
            return note(PAINTED.format(share=f"{100 * roi.mean():.0f} %"))
        return note(EVERYWHERE if self.page.model(visit).pipeline.config.roi is None else OWN)


def _layer(roi: np.ndarray, size: Sequence[int]) -> Image.Image:
    """The region as the brush paints it, RGBA of `size`, (height, width)."""
    alpha = Image.fromarray(roi).convert("L").resize(size[::-1], Image.Resampling.NEAREST)
    layer = Image.new("RGB", alpha.size, PAINT)
    layer.putalpha(alpha.point(lambda value: round(value * OPACITY)))
    return layer


def _painted(layer: Upload) -> np.ndarray:
    """[H,W] bool, where a layer covers what is below it."""
    with uploaded(layer) as path, Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def note(text: str) -> str:
    """As it stands over the canvas."""
    return f'<p class="note" role="status">{text}</p>'
