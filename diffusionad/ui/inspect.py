"""The Inspect tab: a picture, its verdict, what is wrong and where, what it should have looked like."""

from typing import Any

import gradio as gr

from diffusionad.ui.files import Upload, caption, inspect_upload, served, viewable
from diffusionad.ui.inspected import VIEWS, Inspected
from diffusionad.ui.models import Model
from diffusionad.ui.page import STATE_SECONDS, Page, Visit
from diffusionad.ui.settings import Settings
from diffusionad.ui.words import banner, region_table, run_line, waiting
from diffusionad.visualize import COLORMAPS, DEFAULT_COLORMAP

MAX_SHOWN_SIDE = 1280  # pixels; larger pictures are inspected as they are, but shown smaller
THRESHOLD_DIGITS = 3

START = "Click an example, or upload a picture and press Inspect."
READY = "Press Inspect."

# Two pictures stand side by side, unless they are very wide.
SIDE_BY_SIDE, STACKED = 280, 640  # least widths of their columns, pixels

# On a phone the verdict is below the inputs; where it is in view already, nothing moves.
SCROLL_TO_VERDICT = """() => setTimeout(() => {
    const verdict = document.getElementById("verdict"), box = verdict.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) verdict.scrollIntoView({behavior: "smooth"});
}, 100)"""

Changes = dict[gr.blocks.Block, Any]  # what is new on the page; all else stays


class InspectTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.last = gr.State(None, time_to_live=STATE_SECONDS)  # Inspected, of this visitor
        self.is_own_picture = gr.State(False)  # the visitor's own, not an example
        with gr.Row(elem_id="inspect"):
            with gr.Column(scale=4, min_width=300):
                self._build_inputs()
            with gr.Column(scale=7, min_width=300):
                self._build_results()
        self._connect()

    def _build_inputs(self) -> None:
        self.picture = gr.Image(
            type="filepath",
            sources=["upload", "clipboard", "webcam"],
            image_mode=None,
            label="Picture of a part",
            height=280,
            buttons=[],
            elem_id="picture",
        )
        self.button = gr.Button("Inspect", variant="primary", size="lg", elem_id="inspect-button")
        self.examples = gr.Gallery(
            label="Examples: click one",
            columns=4,
            height="auto",
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            visible=False,
            elem_id="examples",
        )
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self.settings = Settings()
            self.own_settings = gr.Button("Back to the model's own settings", size="sm")

    def _build_results(self) -> None:
        self.banner = gr.HTML(waiting(START), elem_id="verdict")
        with gr.Column(visible=False) as self.results:
            self.threshold = gr.Slider(
                0,
                1,
                0.5,
                step=10**-THRESHOLD_DIGITS,
                label="Threshold",
                info="Verdict, contours and regions follow at once; the model does not run again.",
                buttons=[],
                elem_id="threshold",
            )
            with gr.Row(elem_id="pictures"):
                with gr.Column(min_width=SIDE_BY_SIDE) as left:
                    self.drawn = gr.Image(
                        label="What was found",
                        format="png",
                        interactive=False,
                        buttons=["download", "fullscreen"],
                        elem_id="drawn",
                    )
                with gr.Column(min_width=SIDE_BY_SIDE) as right:
                    self.slider = gr.ImageSlider(
                        label="Picture | what it should look like",
                        format="png",
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="before-after",
                    )
            self.picture_columns = [left, right]
            self.view = gr.Radio(VIEWS, value=VIEWS[0], show_label=False, container=False, elem_id="view")
            self.regions = gr.HTML(elem_id="regions")
            self.run_line = gr.HTML(elem_id="run-line")
            with gr.Accordion("Display", open=False), gr.Row():
                self.opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity of the heat map")
                self.colormap = gr.Dropdown(list(COLORMAPS), value=DEFAULT_COLORMAP, label="Colours")

    def _connect(self) -> None:
        page, display = self.page, [self.view, self.opacity, self.colormap]
        redrawn = [self.banner, self.drawn, self.regions]
        results = [*redrawn, self.slider, self.run_line, self.results, *self.picture_columns, self.last]
        settings = [self.threshold, *self.settings.components()]
        about_model = [self.examples, *settings]
        everything = [*about_model, self.picture, self.is_own_picture, *results]
        # Several at once: a visitor's download of a model must not stop the others; each model has its lock.
        heavy = {
            "concurrency_id": "model",
            "concurrency_limit": 4,
            "show_progress_on": self.banner,
            "api_visibility": "private",
        }
        light = {"show_progress": "hidden", "api_visibility": "private"}

        choose = {"fn": self.show_model, "inputs": [page.visit, self.is_own_picture, *display]}
        inspected = self.button.click(
            self.inspect, [self.picture, page.visit, *display, *settings], results, preprocess=False, **heavy
        )
        inspected_example = self.examples.select(
            self.inspect_example, [page.visit, *display, *settings], everything, **heavy
        )
        for event in (inspected, inspected_example):
            event.success(None, js=SCROLL_TO_VERDICT, **light)
        page.visit.change(**choose, outputs=everything, **heavy)
        # An old verdict beside a new picture or model would be a lie.
        blanked = [self.banner, self.results, self.last]
        blank = {"queue": False, "cancels": [inspected, inspected_example], **light}
        gr.on(
            [self.picture.input, self.picture.clear],
            self.new_picture,
            self.picture,
            [*blanked, self.is_own_picture],
            preprocess=False,
            **blank,
        )
        self.picture.upload(viewable, self.picture, self.picture, preprocess=False, **light)

        redraw = {"fn": self.redraw, "inputs": [self.last, self.threshold, *display], "outputs": redrawn}
        moved = [self.threshold.input, *[control.input for control in display]]
        gr.on(moved, **redraw, trigger_mode="always_last", **light)
        self.own_settings.click(self.settings_of, page.visit, settings, **light).then(**redraw, **light)

    def show_model(self, visit: Visit, is_own_picture: bool, *display: Any) -> Changes:
        """A model, its own settings and its examples, the first of which is inspected at once.

        A picture of the visitor's own stays, and waits for the button.
        """
        model = self.page.model(visit)
        examples = model.examples()
        pictures = [(served(path), caption(path)) for path in examples]
        changes = {
            self.examples: gr.update(value=pictures, visible=bool(pictures)),
            **self._own_settings(model),
        }
        if is_own_picture:
            return {**changes, **self._blank(READY)}
        if not examples:
            return {**changes, **self._blank(START), self.picture: None}
        inspected = inspect_upload(model, {"path": pictures[0][0]}, max_side=MAX_SHOWN_SIDE)
        return {**changes, self.picture: pictures[0][0], **self._show(inspected, *display)}

    def settings_of(self, visit: Visit) -> Changes:
        """The model's own settings."""
        return self._own_settings(self.page.model(visit))

    def _own_settings(self, model: Model) -> Changes:
        threshold = round(model.pipeline.config.threshold, THRESHOLD_DIGITS)
        return {self.threshold: threshold, **self.settings.own(model)}

    def new_picture(self, picture: Upload | None) -> Changes:
        """The visitor has brought or removed a picture."""
        return {**self._blank(READY if picture else START), self.is_own_picture: bool(picture)}

    def inspect(
        self,
        picture: Upload | None,
        visit: Visit,
        view: str,
        opacity: float,
        colormap: str,
        threshold: float,
        *values: Any,
    ) -> Changes:
        """Run the model on the picture."""
        model = self.page.model(visit)
        threshold = _meant(threshold, model.pipeline.config.threshold)
        settings = self.settings.named(values)
        inspected = inspect_upload(model, picture, threshold=threshold, max_side=MAX_SHOWN_SIDE, **settings)
        return self._show(inspected, view, opacity, colormap)

    def inspect_example(self, event: gr.SelectData, visit: Visit, *controls: Any) -> Changes:
        """Take a picture of the gallery and inspect it."""
        path = served(self.page.model(visit).examples()[event.index])
        shown = self.inspect({"path": path}, visit, *controls)
        return {self.picture: path, self.is_own_picture: False, **shown}

    def redraw(self, last: Inspected | None, threshold: float, *display: Any) -> Changes:
        """Judge and draw the last inspection again."""
        if last is None:
            return {self.banner: gr.skip()}
        return self._redrawn(last.at(_meant(threshold, last.saved_threshold)), *display)

    def _show(self, inspected: Inspected, *display: Any) -> Changes:
        width, height = inspected.picture.size
        column = gr.update(min_width=STACKED if width > 2 * height else SIDE_BY_SIDE)
        return {
            **self._redrawn(inspected, *display),
            **dict.fromkeys(self.picture_columns, column),
            self.slider: (inspected.picture, inspected.reconstruction),
            self.run_line: run_line(inspected),
            self.results: gr.update(visible=True),
            self.last: inspected,
        }

    def _redrawn(self, inspected: Inspected, *display: Any) -> Changes:
        return {
            self.banner: banner(inspected),
            self.drawn: inspected.draw(*display),
            self.regions: region_table(inspected),
        }

    def _blank(self, text: str) -> Changes:
        return {self.banner: waiting(text), self.results: gr.update(visible=False), self.last: None}


def _meant(threshold: float, saved: float) -> float:
    """The model's own threshold has more digits than the slider: where both look the same, it is meant."""
    return saved if round(threshold, THRESHOLD_DIGITS) == round(saved, THRESHOLD_DIGITS) else threshold


def build_inspect(page: Page) -> None:
    """The tab, on a page being built."""
    InspectTab(page)
