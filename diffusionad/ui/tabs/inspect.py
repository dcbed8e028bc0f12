"""The Inspect tab: a picture, its verdict, its defective regions and its repair."""

from typing import Any

import gradio as gr
from gradio.events import Dependency

from diffusionad.images.image_io import read_image
from diffusionad.ui.components.advanced_settings import AdvancedSettings
from diffusionad.ui.components.events import BACKGROUND, Changes, run_model_on
from diffusionad.ui.components.example_gallery import NOT_SELECTED, build_gallery, show_examples
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.result_view import THRESHOLD_DIGITS, ResultView, snap_to_own
from diffusionad.ui.components.roi_editor import RoiEditor
from diffusionad.ui.components.static_files import read_static_file
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import (
    Upload,
    convert_for_browser,
    inspect_upload,
    is_picture,
    serve_file,
    serve_image,
)
from diffusionad.ui.serving.inspection_state import Inspection
from diffusionad.ui.serving.large_pictures import turn_for

MAX_SHOWN_SIDE = 1280  # pixels; larger pictures are inspected as they are, but shown smaller

START = "Click an example, or bring a picture of your own."
INSPECTING = "Inspecting …"
FAILED = "This picture was not inspected; choose another one."


class InspectTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.is_own_picture = gr.State(False)  # not an example
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
            # While the frame shows a picture, its own way to the files takes two more clicks.
            self.upload = gr.UploadButton(
                "Own picture", file_types=["image"], size="lg", min_width=140, elem_id="upload"
            )
            self.button = gr.Button(
                "Inspect", variant="primary", size="lg", min_width=140, elem_id="inspect-button"
            )
        self.examples = build_gallery()
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self.settings = AdvancedSettings(self.page)
            self.reset_button = gr.Button(
                "Back to the model's own settings", size="sm", elem_id="own-settings"
            )
        self.roi_editor = RoiEditor(self.page)

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
        changed = self._connect_pictures()
        reset = self._connect_settings()
        self.roi_editor.connect(self.picture, [reset, *changed])
        self.explain_button.click(
            self.explain, [self.page.session, self.view.last], self.steps, **run_model_on(self.steps)
        )

    def _connect_pictures(self) -> list[Dependency]:
        """Connect the ways to a picture; return the events that bring another picture or model."""
        page, view = self.page, self.view
        run = self._run_options()
        shown_parts = self._shown_parts()
        picture_parts = [self.picture, self.examples, self.is_own_picture, *shown_parts]
        inspected = self.button.click(self.inspect, **run)
        example = self.examples.select(self.take_example, page.session, picture_parts, **BACKGROUND).success(
            self.inspect_new, **run
        )
        brought = gr.on(
            [self.picture.input, self.picture.clear],
            self.new_picture,
            self.picture,
            [self.examples, *shown_parts, self.is_own_picture],
            queue=False,
            preprocess=False,
            cancels=[inspected, example],
            **BACKGROUND,
        ).then(self.inspect_new, **run)
        self.picture.upload(convert_for_browser, self.picture, self.picture, preprocess=False, **BACKGROUND)
        uploaded = self.upload.upload(
            self.take_upload, self.upload, picture_parts, preprocess=False, **BACKGROUND
        ).success(self.inspect_new, **run)
        model_changed = page.session.change(
            self.change_model,
            [page.session, view.last, self.is_own_picture, *view.display()],
            [self.examples, self.picture, *self._settings(), *shown_parts],
            **BACKGROUND,
        )
        first = model_changed.success(self.inspect_new, **run)
        handed = page.picture_to_inspect.change(
            self.take_picture,
            page.picture_to_inspect,
            [page.picture_to_inspect, page.tabs, *picture_parts],
            **BACKGROUND,
        ).success(self.inspect_new, **run)
        # The first verdict of a session does not scroll.
        for event in (inspected, example, brought, uploaded, handed):
            event.success(None, js=read_static_file("scroll_to_verdict.js"), **BACKGROUND)
        for event in (example, brought, uploaded, first):  # the address names what is shown
            event.success(None, js=read_static_file("permalink.js"), **BACKGROUND)
        # After a failed click on the button the old verdict stays; it is still that of the picture.
        for event in (example, brought, uploaded, handed, first):
            event.failure(lambda: self._blank(FAILED), None, shown_parts, **BACKGROUND)
        return [model_changed, example, brought, uploaded, handed]

    def _connect_settings(self) -> Dependency:
        """Connect the settings; return the event that resets them."""
        self.view.connect(self.settings.controls["min_region_area"])
        self.settings.connect()
        reset = self.reset_button.click(
            self.reset_settings, self.page.session, self._settings(), **BACKGROUND
        )
        reset.then(self.inspect, **self._run_options())
        return reset

    def _run_options(self) -> dict[str, Any]:
        """Return the options of an event that inspects the picture."""
        view = self.view
        return {
            "inputs": [self.picture, self.page.session, view.last, *view.display(), *self._settings()],
            "outputs": [*self._shown_parts(), self.picture, self.is_own_picture],
            "preprocess": False,
            **run_model_on(view.banner),
        }

    def _settings(self) -> list[gr.components.Component]:
        return [self.view.threshold, *self.settings.components(), self.roi_editor.roi]

    def _shown_parts(self) -> list[gr.blocks.Block]:
        return [*self.view.outputs(), self.explain_button, self.steps]

    def change_model(
        self, session: Session, last: Inspection | None, is_own_picture: bool, *display: Any
    ) -> Changes:
        """Show the settings and examples of another model, and its first example for inspection.

        The user's own picture stays, and is inspected with the new model. If only the calibration is
        another one, the last inspection is judged by it.
        """
        model = self.page.model(session)
        if last is not None and last.model == model.name:
            calibration = self.page.calibration(session)
            judged = last if calibration is None else last.with_calibration(calibration)
            threshold = round(judged.own_threshold, THRESHOLD_DIGITS)
            return {self.view.threshold: threshold, **self.view.show(judged, *display)}
        gallery, first = show_examples(model, session.example)
        changes = {
            self.examples: gallery,
            **self.reset_settings(session),
            **(self._busy() if first or is_own_picture else self._blank(START)),
        }
        if is_own_picture:
            return {**changes, self.examples: {**gallery, "selected_index": None}}
        return {**changes, self.picture: first}

    def reset_settings(self, session: Session) -> Changes:
        """Set the model's own settings with the user's calibration; remove the painted region."""
        model = self.page.model(session)
        threshold = round(self.page.threshold(session), THRESHOLD_DIGITS)
        return {self.view.threshold: threshold, **self.settings.values_of(model), self.roi_editor.roi: None}

    def new_picture(self, picture: Upload | None) -> Changes:
        """Remove the old inspection, since the user has brought or removed a picture."""
        shown = self._busy() if picture else self._blank(START)
        return {**shown, self.examples: NOT_SELECTED, self.is_own_picture: bool(picture)}

    def take_upload(self, upload: Upload) -> Changes:
        """Take a picture of the upload button."""
        png = convert_for_browser(upload)
        path = png if isinstance(png, str) else upload["path"]
        return self._own(path)

    def take_example(self, event: gr.SelectData, session: Session) -> Changes:
        """Take a picture of the gallery."""
        path = serve_file(self.page.model(session).examples()[event.index])
        return {self.picture: path, self.is_own_picture: False, **self._busy()}

    def take_picture(self, path: str | None) -> Changes:
        """Take a picture of another tab, and show this one."""
        if path is None:
            return {self.picture: gr.skip()}
        shown = gr.Tabs(selected="inspect")
        return {self.page.picture_to_inspect: None, self.page.tabs: shown, **self._own(path)}

    def _own(self, path: str) -> Changes:
        """Take a picture of the user's own, which is inspected next."""
        own: Changes = {self.picture: path, self.examples: NOT_SELECTED, self.is_own_picture: True}
        return {**own, **self._busy()}

    def inspect_new(
        self, picture: Upload | None, session: Session, last: Inspection | None, *controls: Any
    ) -> Changes:
        """Run the model if there is a picture without an inspection; say in the page why it cannot."""
        if picture is None:
            return {**self._blank(START), self.is_own_picture: False}  # removed in the meantime
        if last is not None:
            return {self.view.banner: gr.skip()}
        try:
            return self.inspect(picture, session, last, *controls)
        except gr.Error as error:
            # A toast is gone before it is read on a phone, and browsers draw an icon for a broken picture.
            changes = self._blank(f"{FAILED} {error.message}")
            return changes if is_picture(picture) else {**changes, self.picture: None}

    def inspect(
        self,
        picture: Upload | None,
        session: Session,
        _last: Inspection | None,
        view: str,
        opacity: float,
        colormap: str,
        threshold: float,
        *values: Any,
    ) -> Changes:
        """Run the model on the picture."""
        *settings, roi = values
        model = self.page.model(session)
        inspection = inspect_upload(
            model,
            picture,
            threshold=snap_to_own(threshold, self.page.threshold(session)),
            calibration=session.calibration,
            max_side=MAX_SHOWN_SIDE,
            roi=roi,
            **self.settings.arguments(settings),
        )
        return {
            **self.view.show(inspection, view, opacity, colormap),
            self.explain_button: gr.update(visible=True),
            self.steps: gr.update(visible=False, value=None),
        }

    def explain(self, session: Session, last: Inspection | None) -> Any:
        """Show the steps from the picture to its map."""
        with user_errors(last.path if last else "", "the picture"):
            if last is None:
                raise ValueError("Inspect a picture first.")
            model = self.page.model(session)
            settings = {**last.settings, "threshold": last.own_threshold}
            with turn_for(last.path):
                picture = read_image(last.path, bit_depth=last.bit_depth)
                steps = model.explain(picture, last.seed, settings, last.peak())
        return gr.update(value=[(serve_image(image, "step"), text) for image, text in steps], visible=True)

    def _busy(self) -> Changes:
        return self.view.busy(INSPECTING)

    def _blank(self, text: str) -> Changes:
        hidden = gr.update(visible=False)
        return {**self.view.blank(text), self.explain_button: hidden, self.steps: hidden}


def build_inspect(page: Page) -> None:
    """Add the tab to a page being built."""
    InspectTab(page)
