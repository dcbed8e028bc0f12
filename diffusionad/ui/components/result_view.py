"""An inspection on the page: verdict, pictures, regions, downloads; redrawn without the model."""

from functools import partial
from typing import Any

import gradio as gr

from diffusionad.inspection.visualize import DEFAULT_COLORMAP, SAFE_COLORMAPS
from diffusionad.ui.components.page import STATE_SECONDS
from diffusionad.ui.components.snippets import (
    REGION_CLICKS,
    banner,
    enlarged_line,
    region_table,
    run_line,
    waiting,
)
from diffusionad.ui.serving.downloads import DOWNLOADS, file_name
from diffusionad.ui.serving.errors import in_one_sentence
from diffusionad.ui.serving.files import shown, written
from diffusionad.ui.serving.inspection_state import VIEWS, Inspected

THRESHOLD_DIGITS = 3

# Both pictures are nearly whole at first; the handle at their left edge brings the original back.
SLIDER_START = 4  # percent

# Two pictures stand side by side, unless they are very wide.
SIDE_BY_SIDE, STACKED = 280, 640  # least widths of their columns, pixels

SAVE_FILE = "() => setTimeout(() => document.querySelector('#download-file, #download-file *').click(), 100)"

Changes = dict[gr.blocks.Block, Any]  # what is new on the page; all else stays

LIGHT = {"show_progress": "hidden", "api_visibility": "private"}


def place_shown_on(component: gr.components.Component) -> dict[str, Any]:
    """Options of an event whose visitor may have to wait: the place in the queue, nothing over the rest."""
    return {"show_progress": "minimal", "show_progress_on": component, "api_visibility": "private"}


class ResultView:
    """Layout and events; `last` holds this visitor's inspection."""

    def __init__(self, start: str) -> None:
        self.last = gr.State(None, time_to_live=STATE_SECONDS)  # Inspected
        self.banner = gr.HTML(waiting(start), elem_id="verdict")
        with gr.Column(visible=False) as self.results:
            self._build_pictures()
            self.regions = gr.HTML(elem_id="regions", js_on_load=REGION_CLICKS)
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
            self.view = gr.Radio(VIEWS, value=VIEWS[0], label="Show", elem_id="view", scale=3, min_width=280)
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

    def display(self) -> list[gr.components.Component]:
        """What the pictures are drawn with, for `show`."""
        return [self.view, self.opacity, self.colormap]

    def outputs(self) -> list[gr.blocks.Block]:
        """All that `show` and `blank` change."""
        more = [self.repaired, self.run_line, self.results, self.last, *self.picture_columns]
        return [*self._redrawn(), *more]

    def _redrawn(self) -> list[gr.blocks.Block]:
        return [self.banner, self.found, self.regions, self.enlarged]

    def connect(self, min_region_area: gr.Number) -> None:
        """Once all controls are there."""
        judged = [self.last, self.threshold, min_region_area]
        # Past the queue, where each step would take longer than the drawing.
        redraw = {
            "inputs": [*judged, *self.display()],
            "outputs": self._redrawn(),
            "trigger_mode": "always_last",
            "queue": False,
            **LIGHT,
        }
        self.threshold.input(self.judge, **redraw)
        min_region_area.input(self.judge_what_is_there, **redraw)
        gr.on([control.input for control in self.display()], self.redraw, **redraw)
        self.regions.click(
            self.enlarge,
            judged,
            [self.enlarged, self.enlarged_line, self.region, self.repaired_region],
            **LIGHT,
        )
        for button, (ending, write) in zip(self.download_buttons, DOWNLOADS.values(), strict=True):
            made = button.click(
                partial(self.make_file, ending, write),
                [*judged, self.opacity, self.colormap],
                self.download,
                api_visibility="private",
            )
            made.success(None, js=SAVE_FILE, **LIGHT)

    def show(self, inspected: Inspected, *display: Any) -> Changes:
        """All of an inspection."""
        width, height = inspected.picture.size
        column = gr.update(min_width=STACKED if width > 2 * height else SIDE_BY_SIDE)
        return {
            **self.drawn(inspected, *display),
            self.enlarged: gr.update(visible=False),
            **dict.fromkeys(self.picture_columns, column),
            self.repaired: (shown(inspected.picture), shown(inspected.reconstruction)),
            self.run_line: run_line(inspected),
            self.results: gr.update(visible=True),
            self.last: inspected,
        }

    def drawn(self, inspected: Inspected, *display: Any) -> Changes:
        """What depends on threshold and display."""
        return {
            self.banner: banner(inspected),
            self.found: (shown(inspected.picture), shown(inspected.draw(*display))),
            self.regions: region_table(inspected),
        }

    def blank(self, text: str) -> Changes:
        """Nothing inspected: an old verdict beside a new picture or model would be a lie."""
        return {self.banner: waiting(text), self.results: gr.update(visible=False), self.last: None}

    def judge(self, last: Inspected | None, *controls: Any) -> Changes:
        """`redraw` at another threshold, where the number of a region may mean another one."""
        return {**self.redraw(last, *controls), self.enlarged: gr.update(visible=False)}

    def judge_what_is_there(self, last: Inspected | None, *controls: Any) -> Changes:
        """`judge`, by a control that is there before any inspection."""
        return {self.banner: gr.skip()} if last is None else self.judge(last, *controls)

    def redraw(
        self, last: Inspected | None, threshold: float, min_area: int | None, *display: Any
    ) -> Changes:
        """Judge and draw the last inspection again."""
        return self.drawn(_judged(_inspected(last), threshold, min_area), *display)

    def enlarge(
        self, event: gr.EventData, last: Inspected | None, threshold: float, min_area: int | None
    ) -> Changes:
        """A region and its reconstruction, side by side."""
        inspected = _judged(_inspected(last), threshold, min_area)
        number = int(event.region)
        if not 0 <= number < len(inspected.regions):
            raise gr.Error("This region is no longer there; choose one of the table.", print_exception=False)
        with in_one_sentence(inspected.path, "the picture"):
            region, repaired = inspected.enlarged(number)
        return {
            self.enlarged: gr.update(visible=True),
            self.enlarged_line: enlarged_line(inspected, number),
            self.region: shown(region, "region"),
            self.repaired_region: shown(repaired, "region"),
        }

    def make_file(self, ending: str, write: Any, last: Inspected | None, *controls: Any) -> str:
        """A file to download."""
        threshold, min_area, *display = controls
        inspected = _judged(_inspected(last), threshold, min_area)
        with in_one_sentence(inspected.path, "the picture"):
            return written(write(inspected, *display), file_name(inspected, ending))


def _inspected(last: Inspected | None) -> Inspected:
    if last is None:
        raise gr.Error("This inspection is gone after an hour; press Inspect again.", print_exception=False)
    return last


def _judged(last: Inspected, threshold: float, min_area: int | None) -> Inspected:
    return last.at(meant(threshold, last.own_threshold), int(min_area or 0))


def meant(threshold: float, own: float) -> float:
    """The model's own threshold has more digits than the slider: where both look the same, it is meant."""
    return own if round(threshold, THRESHOLD_DIGITS) == round(own, THRESHOLD_DIGITS) else threshold
