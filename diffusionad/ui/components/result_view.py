"""An inspection on the page: verdict, pictures, regions, downloads; redrawn without the model."""

from functools import partial
from typing import Any

import gradio as gr

from diffusionad.inspection.visualize import DEFAULT_COLORMAP, SAFE_COLORMAPS
from diffusionad.ui.components.events import BACKGROUND, Changes
from diffusionad.ui.components.page import STATE_SECONDS
from diffusionad.ui.components.snippets import (
    busy_banner,
    enlarged_line,
    region_table,
    run_line,
    verdict_banner,
    waiting_banner,
)
from diffusionad.ui.components.static_files import read_static_file
from diffusionad.ui.serving.downloads import DOWNLOADS, download_name
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import serve_bytes, serve_image
from diffusionad.ui.serving.inspection_state import VIEWS, Inspection
from diffusionad.ui.serving.large_pictures import turn_for

THRESHOLD_DIGITS = 3  # of the slider

SLIDER_START = 50  # percent: half of the picture and half of the answer show what the handle is for

# Two pictures stand side by side unless they are very wide.
SIDE_BY_SIDE, STACKED = 280, 640  # minimum widths of their columns, pixels


class ResultView:
    """Layout and events; `last` holds this user's inspection."""

    def __init__(self, start: str) -> None:
        self.last = gr.State(None, time_to_live=STATE_SECONDS)  # Inspection
        self.banner = gr.HTML(waiting_banner(start), elem_id="verdict")
        with gr.Column(visible=False, elem_id="results") as self.results:
            self._build_pictures()
            self.regions = gr.HTML(elem_id="regions", js_on_load=read_static_file("region_clicks.js"))
            self._build_enlarged()
            self._build_downloads()
            self.run_line = gr.HTML(elem_id="run-line")

    def _build_pictures(self) -> None:
        slider = partial(
            gr.ImageSlider,
            type="filepath",
            interactive=False,
            slider_position=SLIDER_START,
            buttons=["fullscreen"],
        )
        with gr.Row(elem_id="pictures"):
            with gr.Column(min_width=SIDE_BY_SIDE) as left:
                self.found = slider(label="Picture | what was found", elem_id="found")
            with gr.Column(min_width=SIDE_BY_SIDE) as right:
                self.repaired = slider(label="Picture | what it should look like", elem_id="repaired")
        self.picture_columns = [left, right]
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
        with gr.Row(elem_id="display"):
            self.view = gr.Radio(VIEWS, value=VIEWS[0], label="Show", elem_id="view", min_width=640)
            self.opacity = gr.Slider(
                0, 1, 0.5, step=0.05, label="Opacity", buttons=[], elem_id="opacity", scale=2, min_width=140
            )
            self.colormap = gr.Dropdown(
                SAFE_COLORMAPS, value=DEFAULT_COLORMAP, label="Colours", elem_id="colormap", min_width=140
            )

    def _build_enlarged(self) -> None:
        with gr.Column(visible=False, elem_id="enlarged") as self.enlarged:
            self.enlarged_line = gr.HTML(elem_id="enlarged-line")
            picture = partial(
                gr.Image, interactive=False, buttons=["fullscreen"], type="filepath", min_width=130
            )
            with gr.Row():
                self.region = picture(label="The region", elem_id="region-picture")
                self.repaired_region = picture(label="What it should look like", elem_id="region-repaired")

    def _build_downloads(self) -> None:
        with gr.Row(elem_id="downloads"):
            self.download_buttons = [gr.Button(name, size="sm", min_width=130) for name in DOWNLOADS]
        self.download = gr.DownloadButton(visible="hidden", elem_id="download-file")

    def display(self) -> list[gr.Radio | gr.Slider | gr.Dropdown]:
        """Return the controls of the drawing, inputs of `show`."""
        return [self.view, self.opacity, self.colormap]

    def outputs(self) -> list[gr.blocks.Block]:
        """Return all components that `show` and `blank` change."""
        more = [self.run_line, self.results, self.last, *self.picture_columns]
        return [*self._redrawn(), *more]

    def _redrawn(self) -> list[gr.blocks.Block]:
        return [self.banner, self.found, self.repaired, self.regions, self.enlarged]

    def connect(self, min_region_area: gr.Slider | gr.Number) -> None:
        """Connect the events, once all controls are there."""
        judged = [self.last, self.threshold, min_region_area]
        # Outside the queue, whose overhead would exceed the drawing.
        redraw: dict[str, Any] = {
            "inputs": [*judged, *self.display()],
            "outputs": self._redrawn(),
            "trigger_mode": "always_last",
            "queue": False,
            **BACKGROUND,
        }
        self.threshold.input(self.judge, **redraw)
        min_region_area.input(self.judge_if_inspected, **redraw)
        gr.on([control.input for control in self.display()], self.redraw, **redraw)
        self.regions.click(
            self.enlarge,
            judged,
            [self.enlarged, self.enlarged_line, self.region, self.repaired_region],
            **BACKGROUND,
        )
        for button, (ending, encode) in zip(self.download_buttons, DOWNLOADS.values(), strict=True):
            made = button.click(
                partial(self.make_file, ending, encode),
                [*judged, self.opacity, self.colormap],
                self.download,
                api_visibility="private",
            )
            made.success(None, js=read_static_file("save_file.js"), **BACKGROUND)

    def show(self, inspection: Inspection, *display: Any) -> Changes:
        """Show an inspection."""
        width, height = inspection.picture.size
        column = gr.update(min_width=STACKED if width > 2 * height else SIDE_BY_SIDE)
        return {
            **self.draw(inspection, *display),
            self.enlarged: gr.update(visible=False),
            self.picture_columns[0]: column,
            # What an unknown part should look like, the model cannot say.
            self.picture_columns[1]: {**column, "visible": inspection.verdict.is_known is not False},
            self.run_line: run_line(inspection),
            self.results: gr.update(visible=True),
            self.last: inspection,
        }

    def draw(self, inspection: Inspection, *display: Any) -> Changes:
        """Return the changes that depend on threshold and display."""
        return {
            self.banner: verdict_banner(inspection),
            self.found: (serve_image(inspection.picture), serve_image(inspection.draw(*display))),
            self.repaired: (serve_image(inspection.picture), serve_image(inspection.repaired)),
            self.regions: region_table(inspection),
        }

    def blank(self, text: str) -> Changes:
        """Remove the inspection: an old verdict must not stand beside a new picture or model."""
        return {self.banner: waiting_banner(text), self.results: gr.update(visible=False), self.last: None}

    def busy(self, text: str) -> Changes:
        """Say that another inspection is on its way; `theme.css` dims the old one, which keeps its place."""
        return {self.banner: busy_banner(text), self.last: None}

    def judge(self, last: Inspection | None, *controls: Any) -> Changes:
        """Redraw at another threshold, and hide the enlarged region, whose number may have changed."""
        return {**self.redraw(last, *controls), self.enlarged: gr.update(visible=False)}

    def judge_if_inspected(self, last: Inspection | None, *controls: Any) -> Changes:
        """Call `judge` if there is an inspection; this control exists before the first."""
        return {self.banner: gr.skip()} if last is None else self.judge(last, *controls)

    def redraw(
        self, last: Inspection | None, threshold: float, min_area: int | None, *display: Any
    ) -> Changes:
        """Judge and draw the last inspection again, without the model."""
        return self.draw(_judged(_require(last), threshold, min_area), *display)

    def enlarge(
        self, event: gr.EventData, last: Inspection | None, threshold: float, min_area: int | None
    ) -> Changes:
        """Show a region and its reconstruction side by side."""
        inspection = _judged(_require(last), threshold, min_area)
        number = int(event.region)
        if not 0 <= number < len(inspection.regions):
            raise gr.Error("This region is no longer there; choose one of the table.", print_exception=False)
        with user_errors(inspection.path, "the picture"), turn_for(inspection.path):
            region, repaired = inspection.enlarge_region(number)
        return {
            self.enlarged: gr.update(visible=True),
            self.enlarged_line: enlarged_line(inspection, number),
            self.region: serve_image(region, "region"),
            self.repaired_region: serve_image(repaired, "region"),
        }

    def make_file(self, ending: str, encode: Any, last: Inspection | None, *controls: Any) -> str:
        """Write a file to download, and return its path."""
        threshold, min_area, *display = controls
        inspection = _judged(_require(last), threshold, min_area)
        with user_errors(inspection.path, "the picture"), turn_for(inspection.path):
            return serve_bytes(encode(inspection, *display), download_name(inspection, ending))


def _require(last: Inspection | None) -> Inspection:
    """Return the inspection, or tell the user that it is gone."""
    if last is None:
        raise gr.Error("This inspection is gone after an hour; press Inspect again.", print_exception=False)
    return last


def _judged(last: Inspection, threshold: float, min_area: int | None) -> Inspection:
    return last.at_threshold(snap_to_own(threshold, last.own_threshold), int(min_area or 0))


def snap_to_own(threshold: float, own: float) -> float:
    """Return the model's own threshold where the slider, which has fewer digits, shows the same."""
    return own if round(threshold, THRESHOLD_DIGITS) == round(own, THRESHOLD_DIGITS) else threshold
