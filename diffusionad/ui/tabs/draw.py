"""The Draw tab: paint a defect on a good part, and see at once what the model makes of it."""

from dataclasses import replace

import gradio as gr

from diffusionad.ui.components.page import Page, Visit
from diffusionad.ui.components.result_view import LIGHT, Changes, place_shown_on
from diffusionad.ui.components.snippets import banner, run_line, waiting
from diffusionad.ui.serving.files import Upload, inspect_upload, served, shown
from diffusionad.ui.serving.inspection_state import Inspected
from diffusionad.ui.serving.model_registry import SLOTS

START = "Paint a scratch, a stain or a hole on the part: the verdict follows each stroke."
FAILED = "This drawing was not inspected; undo the last stroke, or choose another part."
NO_PART = "Choose a good part first: upload or paste one, then paint on it."

# Dirt, oil, rust, paint, light: what parts get in real life.
COLORS = ["#15130f", "#5b4636", "#a3502a", "#c02626", "#2456a6", "#f4f1ea"]
MAX_SHOWN_SIDE = 1280  # pixels, of the pictures beside the canvas
BRUSH = 5  # pixels of the picture


def build_draw(page: Page) -> None:
    """The tab, on a page being built."""
    DrawTab(page)


class DrawTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        with gr.Row(elem_id="draw"):
            with gr.Column(scale=6, min_width=300):
                self.editor = gr.ImageEditor(
                    label="Paint a defect",
                    type="pil",
                    image_mode="RGB",
                    format="png",
                    sources=("upload", "clipboard"),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(BRUSH, colors=COLORS),
                    eraser=gr.Eraser(4 * BRUSH),
                    buttons=[],
                    height=480,
                    canvas_size=(256, 256),  # grows with the picture; a larger one would shrink the fit
                    elem_id="canvas",
                )
                self.parts = gr.Gallery(
                    label="Good parts: click one to start anew",
                    columns=4,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    visible=False,
                    elem_id="good-parts",
                )
            with gr.Column(scale=6, min_width=300):
                self.banner = gr.HTML(waiting(START), elem_id="draw-verdict")
                with gr.Row(visible=False) as self.results:
                    self.drawn = gr.Image(
                        label="What was found",
                        format="png",
                        interactive=False,
                        buttons=[],
                        min_width=130,
                        elem_id="draw-found",
                    )
                    self.repaired = gr.Image(
                        label="What it should look like",
                        format="png",
                        interactive=False,
                        buttons=[],
                        min_width=130,
                        elem_id="draw-repaired",
                    )
                self.run_line = gr.HTML(elem_id="draw-run-line")
        self._connect()

    def _connect(self) -> None:
        heavy = {"concurrency_id": "model", "concurrency_limit": SLOTS, **place_shown_on(self.banner)}
        results = [self.banner, self.results, self.drawn, self.repaired, self.run_line]
        visit = self.page.visit
        visit.change(self.show_model, visit, [self.editor, self.parts, *results], **LIGHT)
        self.parts.select(self.choose_part, visit, [self.editor, *results], **LIGHT)
        # A stroke while the model runs: only the last one counts.
        inspected = gr.on(
            [self.editor.input, self.editor.upload],
            self.inspect,
            [self.editor, visit],
            results,
            preprocess=False,
            trigger_mode="always_last",
            **heavy,
        )
        inspected.failure(lambda: self._blank(FAILED), None, results, **LIGHT)  # no old verdict beside it

    def show_model(self, visit: Visit) -> Changes:
        """The good examples of a model, the first of them ready to be painted on."""
        parts = [served(path) for path in self.page.model(visit).good_examples()]
        return {
            self.editor: parts[0] if parts else None,
            self.parts: gr.update(value=parts, visible=len(parts) > 1),
            **self._blank(START if parts else NO_PART),
        }

    def choose_part(self, event: gr.SelectData, visit: Visit) -> Changes:
        """Start anew on another good part."""
        path = self.page.model(visit).good_examples()[event.index]
        return {self.editor: served(path), **self._blank(START)}

    def inspect(self, canvas: dict[str, Upload] | None, visit: Visit) -> Changes:
        """Inspect what is on the canvas."""
        # With the strokes; the browser sends it at the picture's own size, the rest of it untouched.
        picture = canvas and (canvas.get("composite") or canvas.get("background"))
        if not picture:
            return self._blank(NO_PART)
        model = self.page.model(visit)
        inspected = inspect_upload(model, picture, max_side=MAX_SHOWN_SIDE, calibration=visit.calibration)
        return self._show(inspected)

    def _show(self, inspected: Inspected) -> Changes:
        return {
            self.banner: banner(inspected),
            self.results: gr.update(visible=True),
            self.drawn: shown(
                replace(inspected, regions=()).draw()
            ),  # without numbers: no table explains them
            self.repaired: shown(inspected.reconstruction),
            self.run_line: run_line(inspected),
        }

    def _blank(self, text: str) -> Changes:
        return {self.banner: waiting(text), self.results: gr.update(visible=False), self.run_line: ""}
