"""The Draw tab: paint a defect on a good part; the verdict follows each stroke."""

from dataclasses import replace

import gradio as gr

from diffusionad.ui.components.events import BACKGROUND, MODEL_QUEUE, Changes, queue_position_on
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import run_line, verdict_banner, waiting_banner
from diffusionad.ui.serving.files import Upload, inspect_upload, serve_file, serve_image
from diffusionad.ui.serving.inspection_state import Inspection

START = "Paint a scratch, a stain or a hole on the part: the verdict follows each stroke."
FAILED = "This drawing was not inspected; undo the last stroke, or choose another part."
NO_PART = "Choose a good part first: upload or paste one, then paint on it."

# Dirt, oil, rust, paint, light.
COLORS: list[str | tuple[str, float]] = ["#15130f", "#5b4636", "#a3502a", "#c02626", "#2456a6", "#f4f1ea"]
MAX_SHOWN_SIDE = 1280  # pixels, of the pictures beside the canvas
BRUSH = 5  # pixels of the picture


def build_draw(page: Page) -> None:
    """Add the tab to a page being built."""
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
                self.banner = gr.HTML(waiting_banner(START), elem_id="draw-verdict")
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
        results = [self.banner, self.results, self.drawn, self.repaired, self.run_line]
        session = self.page.session
        session.change(self.show_model, session, [self.editor, self.parts, *results], **BACKGROUND)
        self.parts.select(self.choose_part, session, [self.editor, *results], **BACKGROUND)
        # Of the strokes while the model runs, only the last is inspected.
        inspected = gr.on(
            [self.editor.input, self.editor.upload],
            self.inspect,
            [self.editor, session],
            results,
            preprocess=False,
            trigger_mode="always_last",
            **MODEL_QUEUE,
            **queue_position_on(self.banner),
        )
        inspected.failure(lambda: self._blank(FAILED), None, results, **BACKGROUND)  # removes the old verdict

    def show_model(self, session: Session) -> Changes:
        """Show the good examples of a model, the first of them on the canvas."""
        parts = [serve_file(path) for path in self.page.model(session).good_examples()]
        return {
            self.editor: parts[0] if parts else None,
            self.parts: gr.update(value=parts, visible=len(parts) > 1, selected_index=0 if parts else None),
            **self._blank(START if parts else NO_PART),
        }

    def choose_part(self, event: gr.SelectData, session: Session) -> Changes:
        """Put another good part on the canvas."""
        path = self.page.model(session).good_examples()[event.index]
        return {self.editor: serve_file(path), **self._blank(START)}

    def inspect(self, canvas: dict[str, Upload] | None, session: Session) -> Changes:
        """Inspect the canvas."""
        # `composite` has the strokes; the browser sends it at the picture's own size, otherwise unchanged.
        picture = canvas and (canvas.get("composite") or canvas.get("background"))
        if not picture:
            return self._blank(NO_PART)
        model = self.page.model(session)
        inspection = inspect_upload(model, picture, max_side=MAX_SHOWN_SIDE, calibration=session.calibration)
        return self._show(inspection)

    def _show(self, inspection: Inspection) -> Changes:
        return {
            self.banner: verdict_banner(inspection),
            self.results: gr.update(visible=True),
            # Without numbers: no table explains them here.
            self.drawn: serve_image(replace(inspection, regions=()).draw()),
            self.repaired: serve_image(inspection.repaired),
            self.run_line: run_line(inspection),
        }

    def _blank(self, text: str) -> Changes:
        return {self.banner: waiting_banner(text), self.results: gr.update(visible=False), self.run_line: ""}
