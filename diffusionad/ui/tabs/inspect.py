"""The Inspect tab: a picture, its verdict, what is wrong and where, what it should have looked like."""

from typing import Any

import gradio as gr

from diffusionad.images.image_io import read_image
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.ui.components.advanced_settings import Settings
from diffusionad.ui.components.page import Page, Visit
from diffusionad.ui.components.result_view import LIGHT, THRESHOLD_DIGITS, Changes, ResultView, meant
from diffusionad.ui.components.roi_editor import WhereToLook
from diffusionad.ui.components.snippets import waiting
from diffusionad.ui.serving.errors import in_one_sentence
from diffusionad.ui.serving.files import Upload, caption, inspect_upload, served, shown, viewable
from diffusionad.ui.serving.inspection_state import Inspected
from diffusionad.ui.serving.model_registry import SLOTS, Model

MAX_SHOWN_SIDE = 1280  # pixels; larger pictures are inspected as they are, but shown smaller

START = "Click an example, or bring a picture of your own."
INSPECTING = "Inspecting …"
FAILED = "This picture was not inspected: choose another one."

# On a phone the verdict is below the inputs; where it is in view already, nothing moves.
SCROLL_TO_VERDICT = """() => setTimeout(() => {
    const verdict = document.getElementById("verdict"), box = verdict.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) verdict.scrollIntoView({behavior: "smooth"});
}, 100)"""


class InspectTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.is_own_picture = gr.State(False)  # the visitor's own, not an example
        with gr.Row(elem_id="inspect"):
            with gr.Column(scale=4, min_width=300):
                self._build_inputs()
            with gr.Column(scale=7, min_width=300):
                self.view = ResultView(START)
                self._build_steps()
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
        with gr.Row(elem_id="start"):
            # With a picture in the frame above, its own way to the files is two clicks longer.
            self.upload = gr.UploadButton(
                "Own picture", file_types=["image"], size="lg", min_width=140, elem_id="upload"
            )
            self.button = gr.Button(
                "Inspect", variant="primary", size="lg", min_width=140, elem_id="inspect-button"
            )
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
            self.own_settings = gr.Button(
                "Back to the model's own settings", size="sm", elem_id="own-settings"
            )
        self.where = WhereToLook(self.page)

    def _build_steps(self) -> None:
        self.explain_button = gr.Button(
            "Explain: what the model did", size="sm", elem_id="explain", visible=False
        )
        self.steps = gr.Gallery(
            label="From the picture to its map",
            columns=6,
            height="auto",
            interactive=False,
            buttons=["fullscreen"],
            visible=False,
            elem_id="steps",
        )

    def _connect(self) -> None:
        page, view = self.page, self.view
        settings = [view.threshold, *self.settings.components(), self.where.roi]
        shown_parts = [*view.outputs(), self.explain_button, self.steps]
        # Several at once: a visitor's download of a model must not stop the others; a model takes turns.
        heavy = {
            "concurrency_id": "model",
            "concurrency_limit": SLOTS,
            "show_progress_on": view.banner,
            "api_visibility": "private",
        }
        run = {
            "inputs": [self.picture, page.visit, view.last, *view.display(), *settings],
            "outputs": [*shown_parts, self.is_own_picture],
            "preprocess": False,
            **heavy,
        }
        inspected = self.button.click(self.inspect, **run)
        example = self.examples.select(
            self.take_example, page.visit, [self.picture, self.is_own_picture, *shown_parts], **LIGHT
        ).success(self.inspect_new, **run)
        blank = {"queue": False, "preprocess": False, "cancels": [inspected, example], **LIGHT}
        brought = gr.on(
            [self.picture.input, self.picture.clear],
            self.new_picture,
            self.picture,
            [*shown_parts, self.is_own_picture],
            **blank,
        ).then(self.inspect_new, **run)
        self.picture.upload(viewable, self.picture, self.picture, preprocess=False, **LIGHT)
        uploaded = self.upload.upload(
            self.take_upload,
            self.upload,
            [self.picture, self.is_own_picture, *shown_parts],
            preprocess=False,
            **LIGHT,
        ).success(self.inspect_new, **run)
        adopted = page.visit.change(
            self.adopt,
            [page.visit, view.last, self.is_own_picture, *view.display()],
            [self.examples, self.picture, *settings, *shown_parts],
            **LIGHT,
        )
        # The first verdict of a visit scrolls nowhere.
        adopted_and_inspected = adopted.success(self.inspect_new, **run)
        handed = page.handed.change(
            self.take_handed,
            page.handed,
            [page.handed, page.tabs, self.picture, self.is_own_picture, *shown_parts],
            **LIGHT,
        ).success(self.inspect_new, **run)
        for event in (inspected, example, brought, uploaded, handed):
            event.success(None, js=SCROLL_TO_VERDICT, **LIGHT)
        for event in (
            example,
            brought,
            uploaded,
            handed,
            adopted_and_inspected,
        ):  # the button leaves the verdict that is there
            event.failure(lambda: waiting(FAILED), None, view.banner, **LIGHT)

        view.connect(self.settings.controls["min_region_area"])
        self.settings.connect(page)
        own = self.own_settings.click(self.own_again, page.visit, settings, **LIGHT)
        own.then(self.inspect, **run)
        self.where.connect(self.picture, [own, adopted, example, brought, uploaded, handed])
        self.explain_button.click(
            self.explain, [page.visit, view.last], self.steps, **{**heavy, "show_progress_on": self.steps}
        )

    def adopt(self, visit: Visit, last: Inspected | None, is_own_picture: bool, *display: Any) -> Changes:
        """Another model: its own settings, its examples, the first of which is inspected.

        A picture of the visitor's own stays, and is inspected with the new model. Where only the calibration
        is another one, the last inspection is judged by it.
        """
        model = self.page.model(visit)
        if last is not None and last.model == model.name:
            calibration = _calibration(model, visit)
            judged = last if calibration is None else last.calibrated(calibration)
            threshold = round(judged.own_threshold, THRESHOLD_DIGITS)
            return {self.view.threshold: threshold, **self.view.show(judged, *display)}
        pictures = [(served(path), caption(path)) for path in model.examples()]
        changes = {
            self.examples: gr.update(value=pictures, visible=bool(pictures)),
            **self.own_again(visit),
            **self._blank(INSPECTING if pictures or is_own_picture else START),
        }
        return changes if is_own_picture else {**changes, self.picture: pictures[0][0] if pictures else None}

    def own_again(self, visit: Visit) -> Changes:
        """The model's own settings, with the visitor's calibration; nothing painted."""
        model = self.page.model(visit)
        threshold = round(self.page.threshold(visit), THRESHOLD_DIGITS)
        return {self.view.threshold: threshold, **self.settings.own(model), self.where.roi: None}

    def new_picture(self, picture: Upload | None) -> Changes:
        """The visitor has brought or removed a picture."""
        return {**self._blank(INSPECTING if picture else START), self.is_own_picture: bool(picture)}

    def take_upload(self, upload: Upload) -> Changes:
        """A picture that did not come through the frame for it."""
        png = viewable(upload)
        path = png if isinstance(png, str) else upload["path"]
        return {self.picture: path, self.is_own_picture: True, **self._blank(INSPECTING)}

    def take_example(self, event: gr.SelectData, visit: Visit) -> Changes:
        """A picture of the gallery."""
        path = served(self.page.model(visit).examples()[event.index])
        return {self.picture: path, self.is_own_picture: False, **self._blank(INSPECTING)}

    def take_handed(self, path: str | None) -> Changes:
        """A picture of another tab."""
        if path is None:
            return {self.picture: gr.skip()}
        changes = {self.picture: path, self.is_own_picture: True, **self._blank(INSPECTING)}
        return {self.page.handed: None, self.page.tabs: gr.Tabs(selected="inspect"), **changes}

    def inspect_new(
        self, picture: Upload | None, visit: Visit, last: Inspected | None, *controls: Any
    ) -> Changes:
        """Run the model where there is a picture and nothing is known about it."""
        if picture is None:
            return self.new_picture(None)  # removed in the meantime
        if last is not None:
            return {self.view.banner: gr.skip()}
        return self.inspect(picture, visit, last, *controls)

    def inspect(
        self,
        picture: Upload | None,
        visit: Visit,
        _last: Inspected | None,
        view: str,
        opacity: float,
        colormap: str,
        threshold: float,
        *values: Any,
    ) -> Changes:
        """Run the model on the picture."""
        *settings, roi = values
        model = self.page.model(visit)
        inspected = inspect_upload(
            model,
            picture,
            threshold=meant(threshold, self.page.threshold(visit)),
            calibration=visit.calibration,
            max_side=MAX_SHOWN_SIDE,
            roi=roi,
            **self.settings.named(settings),
        )
        return {
            **self.view.show(inspected, view, opacity, colormap),
            self.explain_button: gr.update(visible=True),
            self.steps: gr.update(visible=False, value=None),
        }

    def explain(self, visit: Visit, last: Inspected | None) -> Any:
        """The steps from the picture to its map."""
        with in_one_sentence(last.path if last else "", "the picture"):
            if last is None:
                raise ValueError("Inspect a picture first.")
            model, picture = self.page.model(visit), read_image(last.path)
            settings = {**last.settings, "threshold": last.own_threshold}
            steps = model.explain(picture, last.seed, settings, last.peak())
        return gr.update(value=[(shown(image, "step"), text) for image, text in steps], visible=True)

    def _blank(self, text: str) -> Changes:
        hidden = gr.update(visible=False)
        return {**self.view.blank(text), self.explain_button: hidden, self.steps: hidden}


def _calibration(model: Model, visit: Visit) -> Calibration | None:
    """The visitor's, else the model's own."""
    saved = model.pipeline.config.calibration
    return visit.calibration or (saved and Calibration.from_dict(saved))


def build_inspect(page: Page) -> None:
    """The tab, on a page being built."""
    InspectTab(page)
