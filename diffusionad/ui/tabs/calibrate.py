"""The Calibrate tab: from good pictures to a threshold with a promised false-alarm rate, for this visit."""

import copy
from dataclasses import dataclass, replace

import gradio as gr

from diffusionad.postprocessing.calibration import Calibration, calibrate
from diffusionad.ui.components.batch_runner import Batch, ManyFiles
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.page import STATE_SECONDS, Page, Visit
from diffusionad.ui.components.result_view import LIGHT, Changes
from diffusionad.ui.components.results_table import table
from diffusionad.ui.components.summaries import calibration_card, calibration_use
from diffusionad.ui.serving.batch_inspection import Row
from diffusionad.ui.serving.errors import in_one_sentence
from diffusionad.ui.serving.files import written
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.model_registry import Model

START = "Drop pictures of good parts, none of which the model was trained on, and press Find the threshold."
DEFAULT_PERCENT = 1.0
CONFIG = "model_index.json"  # the file of a saved pipeline that holds threshold and calibration


@dataclass(eq=False)
class Proposal:
    """A calibration that a visitor may use.

    Attributes:
        model: that it was made for, as the visit calls it.
        calibration: the new one; None where the pictures are too few for the rate.
        example_scores: of the model's own examples, by whether they are defective.
    """

    model: str | None
    calibration: Calibration | None
    example_scores: dict[bool, list[float]]


def build_calibrate(page: Page) -> None:
    """The tab, on a page being built."""
    CalibrateTab(page)


class CalibrateTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.proposal = gr.State(None, time_to_live=STATE_SECONDS)  # Proposal, of this visitor
        with gr.Row(elem_id="calibrate"):
            with gr.Column(scale=4, min_width=300):
                self.percent = gr.Number(
                    DEFAULT_PERCENT,
                    label="False alarms you accept, in % of good parts",
                    info="100 / (n + 1) % is the least that n pictures can promise: 99 for 1, 19 for 5.",
                    minimum=0,
                    maximum=100,
                    elem_id="calibrate-rate",
                )
                self.many = ManyFiles(
                    page,
                    "calibrate",
                    "Good parts",
                    "Find the threshold",
                    START,
                )
            with gr.Column(scale=7, min_width=300):
                self.many.build_status()
                self.use_line = gr.HTML(visible=False, elem_id="calibrate-in-use")
                self.back = gr.Button("Back to the model's own", visible=False, elem_id="calibrate-back")
                with gr.Column(visible=False) as self.results:
                    with gr.Row():
                        self.use = gr.Button(
                            "Use it for this visit", variant="primary", elem_id="calibrate-use"
                        )
                        self.config = gr.DownloadButton("Download the config", elem_id="calibrate-config")
                    self.histogram = gr.HTML(elem_id="calibrate-histogram")
                    self.many.build_table()
        self._connect()

    def _connect(self) -> None:
        visit = self.page.visit
        judged = [self.proposal, self.histogram, self.use, self.config]
        self.many.connect(self.finish, [self.percent], judged, self.results)
        # Another rate needs no other scores.
        self.percent.change(
            self.judge,
            [self.many.batch, self.percent, self.proposal],
            [*judged, self.many.status, self.many.table, self.results],
            trigger_mode="always_last",
            **LIGHT,
        )
        self.use.click(self.use_it, [visit, self.proposal], visit, **LIGHT)
        self.back.click(lambda visit: replace(visit, calibration=None), visit, visit, **LIGHT)
        visit.change(self.in_use, visit, [self.use_line, self.back], **LIGHT)

    def finish(self, batch: Batch, percent: float | None) -> Changes:
        """The threshold from the rows that there are, and what it does."""
        proposal = Proposal(batch.visit.model, None, example_scores(self.page.model(batch.visit)))
        return self.judge(batch, percent, proposal)

    def judge(self, batch: Batch | None, percent: float | None, proposal: Proposal | None) -> Changes:
        """The threshold at a rate; the model does not run."""
        if batch is None or proposal is None or not batch.rows:
            return {self.proposal: proposal}
        model, scores = self.page.model(batch.visit), batch.scores()
        rate = None if percent is None else percent / 100
        try:
            calibration = calibrate(scores, rate, [row.peak for row in batch.read()])
        except ValueError:
            calibration = None  # the card says why
        own = model.pipeline.config.threshold
        thresholds = {"model's own": own}
        if calibration:
            thresholds = {"new": calibration.threshold, **thresholds}
        return {
            self.proposal: replace(proposal, calibration=calibration),
            self.many.status: calibration_card(calibration, rate, own, scores, proposal.example_scores),
            self.histogram: histogram(scores, thresholds, "good pictures") if scores else "",
            self.many.table: table([_judged(row, next(iter(thresholds.values()))) for row in batch.rows]),
            self.use: gr.update(visible=calibration is not None),
            self.config: gr.update(
                visible=calibration is not None,
                value=written(config_with(model, calibration), CONFIG) if calibration else None,
            ),
            self.results: gr.update(visible=True),
        }

    def use_it(self, visit: Visit, proposal: Proposal | None) -> Visit:
        """From now on, on all tabs of this visitor."""
        with in_one_sentence():
            if proposal is None or proposal.calibration is None:
                raise ValueError("Find a threshold first.")
            if proposal.model != visit.model:
                raise ValueError("This threshold was made for another model; calibrate again.")
        return replace(visit, calibration=proposal.calibration)

    def in_use(self, visit: Visit) -> Changes:
        """Whose threshold holds."""
        return {
            self.use_line: gr.update(
                value=calibration_use(visit.calibration), visible=visit.calibration is not None
            ),
            self.back: gr.update(visible=visit.calibration is not None),
        }


def example_scores(model: Model) -> dict[bool, list[float]]:
    """Scores of the model's own examples, by whether they are defective."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    for path in model.examples():
        is_defective = path not in model.good_examples()
        scores[is_defective].append(inspect_picture(model, str(path)).verdict.score)
    return scores


def config_with(model: Model, calibration: Calibration) -> bytes:
    """The `model_index.json` of the model with another calibration, to put into its folder."""
    pipeline = copy.copy(model.pipeline).configure(calibration=calibration)  # the model itself is shared
    return pipeline.to_json_string().encode()


def _judged(row: Row, threshold: float) -> Row:
    """The row at another threshold. Its p-value says nothing: it would count the picture itself."""
    verdict = row.result.verdict
    if verdict is None:
        return row
    is_anomalous = verdict.score > threshold
    verdict = replace(verdict, is_anomalous=is_anomalous, threshold=threshold, p_value=None)
    return replace(row, result=replace(row.result, verdict=verdict))
