"""The region of interest, painted by the user over the picture."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from gradio.events import Dependency
from PIL import Image

from diffusionad.images.image_io import IMAGE_FORMATS, resize
from diffusionad.ui.components.events import BACKGROUND
from diffusionad.ui.components.markup import as_text
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.serving.files import Upload, checked_upload, png_bytes, read_upload, serve_bytes

PAINT, OPACITY = "#00E5FF", 0.5
CANVAS_SIDE = 512  # pixels, at most; a region needs no more

EVERYWHERE = "Paint over what is to be inspected. While nothing is painted, that is everything."
OWN = (
    "Paint over what is to be inspected. While nothing is painted, it is what this model was set to look at."
)
PAINTED = "The model will look at {share} of the picture: press Inspect."


class RoiEditor:
    """Layout and events; `roi` holds this user's region, [H,W] bool, or None.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.roi = gr.State(None)
        self.is_open = gr.State(False)  # a hidden canvas takes no picture
        with gr.Accordion("Where to look", open=False, elem_id="where") as self.accordion:
            self.note = gr.HTML(note_html(EVERYWHERE), elem_id="where-note")
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
        """Connect the events, once the picture is there.

        Args:
            picture: the user paints over it.
            others: events that may change picture or region.
        """
        session = self.page.session
        follow: dict[str, Any] = {
            "fn": self.update_canvas,
            "inputs": [self.is_open, picture, self.roi, session],
            "outputs": [self.canvas, self.note],
            "preprocess": False,
            **BACKGROUND,
        }
        self.accordion.expand(lambda: True, None, self.is_open, **BACKGROUND).then(**follow)
        self.accordion.collapse(lambda: False, None, self.is_open, **BACKGROUND)
        self.reset.click(lambda: None, None, self.roi, **BACKGROUND).then(**follow)
        # Not `picture.change`: with a listener on it, Gradio's camera takes no photo.
        for event in others:
            event.then(**follow)
        self.canvas.input(
            self.read_region,
            [self.canvas, session],
            [self.roi, self.note],
            preprocess=False,
            trigger_mode="always_last",
            **BACKGROUND,
        )

    def update_canvas(
        self, is_open: bool, picture: Upload | None, roi: np.ndarray | None, session: Session
    ) -> tuple[Any, str]:
        """Show the present picture below the painted region, which stays when the picture changes."""
        bit_depth = self.page.model(session).pipeline.config.bit_depth
        canvas = self.lay_out(picture, roi, bit_depth) if is_open else gr.skip()
        return canvas, self._note(roi, session)

    def lay_out(
        self, picture: Upload | None, roi: np.ndarray | None, bit_depth: int | None = None
    ) -> dict[str, Any] | None:
        """Return the canvas's value for a picture and a region."""
        if picture is None:
            return None
        pixels = read_upload(picture, bit_depth)
        scale = min(1, CANVAS_SIDE / max(pixels.shape[:2]))
        height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
        background = (resize(pixels, (height, width)) * 255).round().clip(0, 255).astype(np.uint8)
        # Gradio would rewrite the file in place while another user with this picture reads it.
        path = serve_bytes(png_bytes(Image.fromarray(background)), "where.png")
        layers = [] if roi is None else [serve_bytes(png_bytes(_layer(roi, height, width)), "region.png")]
        return {"background": path, "layers": layers, "composite": path}

    def read_region(self, canvas: dict[str, Any] | None, session: Session) -> tuple[np.ndarray | None, str]:
        """Return the painted region, None where nothing is painted, and the note about it."""
        layers = (canvas or {}).get("layers") or []
        painted = [_painted(layer) for layer in layers if layer]
        union = np.logical_or.reduce(painted) if painted else None
        roi = union if union is not None and union.any() else None
        return roi, self._note(roi, session)

    def _note(self, roi: np.ndarray | None, session: Session) -> str:
        if roi is not None:
            return note_html(PAINTED.format(share=f"{100 * roi.mean():.0f} %"))
        return note_html(EVERYWHERE if self.page.model(session).pipeline.config.roi is None else OWN)


def _layer(roi: np.ndarray, height: int, width: int) -> Image.Image:
    """Paint a region as the brush does, RGBA [height,width]."""
    alpha = Image.fromarray(roi).convert("L").resize((width, height), Image.Resampling.NEAREST)
    layer = Image.new("RGB", alpha.size, PAINT)
    layer.putalpha(alpha.point(lambda value: round(value * OPACITY)))
    return layer


def _painted(layer: Upload) -> np.ndarray:
    """Return the pixels that a layer covers, [H,W] bool."""
    with checked_upload(layer) as path, Image.open(path, formats=IMAGE_FORMATS) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0


def note_html(text: str) -> str:
    """Return the note over the canvas as HTML."""
    return f'<p class="note" role="status">{as_text(text)}</p>'
