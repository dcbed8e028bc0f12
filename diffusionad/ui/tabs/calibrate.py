"""The Calibrate tab: from good pictures to a threshold with a promised false-alarm rate, for this session."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr

from diffusionad.postprocessing.calibration import Calibration, calibrate
from diffusionad.postprocessing.verdict import Verdict, score_text
from diffusionad.ui.components.batch_runner import Batch, BatchRunner
from diffusionad.ui.components.events import BACKGROUND, Changes
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.page import STATE_SECONDS, Page, Session
from diffusionad.ui.components.results_table import results_table
from diffusionad.ui.components.summaries import calibration_card, calibration_in_use
from diffusionad.ui.serving.batch_inspection import Row
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import serve_bytes
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.large_pictures import turn_for
from diffusionad.ui.serving.model_registry import Model

START = "Drop pictures of good parts, none of which the model was trained on, and press Find the threshold."
DEFAULT_PERCENT = 1.0
MAX_DECIDING = 10  # pictures that are offered to be left out
CONFIG = "model_index.json"  # holds threshold and calibration of a saved pipeline


@dataclass(eq=False)
class Proposal:
    """A calibration that the user may accept.

    Attributes:
        model: name in the session of the model it was made for.
        calibration: the new one; None where the pictures are too few for the rate.
        example_scores: of the model's own examples, by whether they are defective.
    """

    model: str | None
    calibration: Calibration | None
    example_scores: dict[bool, list[float]]


def build_calibrate(page: Page) -> None:
    """Add the tab to a page being built."""
    CalibrateTab(page)


class CalibrateTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.proposal = gr.State(None, time_to_live=STATE_SECONDS)  # Proposal
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
                self.runner = BatchRunner(
                    page,
                    "calibrate",
                    "Good parts",
                    "Find the threshold",
                    START,
                )
            with gr.Column(scale=7, min_width=300):
                self.runner.build_status()
                self.use_line = gr.HTML(visible=False, elem_id="calibrate-in-use")
                self.back = gr.Button("Back to the model's own", visible=False, elem_id="calibrate-back")
                with gr.Column(visible=False) as self.results:
                    with gr.Row():
                        self.use = gr.Button(
                            "Use it for this visit", variant="primary", elem_id="calibrate-use"
                        )
                        self.config = gr.DownloadButton("Download the config", elem_id="calibrate-config")
                    self.left_out = gr.CheckboxGroup(
                        label="These pictures set the threshold. Is each part really good?",
                        info="Tick one to leave it out; the promise then rests on your word.",
                        elem_id="calibrate-left-out",
                    )
                    self.histogram = gr.HTML(elem_id="calibrate-histogram")
                    self.runner.build_table()
        self._connect()

    def _connect(self) -> None:
        session = self.page.session
        judged = [self.proposal, self.left_out, self.histogram, self.use, self.config]
        self.runner.connect(self.finish, [self.percent], judged, self.results)
        # Another rate, or fewer pictures, need no new scores.
        gr.on(
            [self.percent.change, self.left_out.input],
            self.judge,
            [self.runner.batch, self.percent, self.proposal, self.left_out],
            [*judged, self.runner.status, self.runner.table, self.results],
            trigger_mode="always_last",
            **BACKGROUND,
        )
        self.use.click(self.accept, [session, self.proposal], session, **BACKGROUND)
        self.back.click(lambda session: replace(session, calibration=None), session, session, **BACKGROUND)
        session.change(self.show_use, session, [self.use_line, self.back], **BACKGROUND)

    def finish(self, batch: Batch, percent: float | None) -> Changes:
        """Show the threshold from the rows, and its effect."""
        proposal = Proposal(batch.session.model, None, example_scores(self.page.model(batch.session)))
        return self.judge(batch, percent, proposal)

    def judge(
        self,
        batch: Batch | None,
        percent: float | None,
        proposal: Proposal | None,
        left_out: Sequence[int] = (),
    ) -> Changes:
        """Show the threshold at a rate, without the rows that were left out; the model does not run."""
        if batch is None or proposal is None or not batch.rows:
            return {self.proposal: proposal}
        kept = replace(batch, rows=[row for i, row in enumerate(batch.rows) if i not in left_out])
        model, scores = self.page.model(batch.session), kept.scores()
        rate = None if percent is None else percent / 100
        try:
            calibration = calibrate(scores, rate, kept.peaks(), kept.appearances(), len(left_out))
        except ValueError:
            calibration = None  # the card gives the reason
        own = model.pipeline.config.threshold
        thresholds = {"model's own": own}
        if calibration:
            thresholds = {"new": calibration.threshold, **thresholds}
        return {
            self.proposal: replace(proposal, calibration=calibration),
            self.runner.status: calibration_card(calibration, rate, own, scores, proposal.example_scores),
            self.left_out: gr.update(choices=deciding(batch, calibration, left_out), value=list(left_out)),
            self.histogram: histogram(scores, thresholds, "good pictures") if scores else "",
            self.runner.table: results_table(
                [_judged(row, next(iter(thresholds.values()))) for row in batch.rows]
            ),
            self.use: gr.update(visible=calibration is not None),
            self.config: gr.update(
                visible=calibration is not None,
                value=serve_bytes(config_with(model, calibration), CONFIG) if calibration else None,
            ),
            self.results: gr.update(visible=True),
        }

    def accept(self, session: Session, proposal: Proposal | None) -> Session:
        """Use the proposed calibration on all tabs of this session."""
        with user_errors():
            if proposal is None or proposal.calibration is None:
                raise ValueError("Find a threshold first.")
            if proposal.model != session.model:
                raise ValueError("This threshold was made for another model; calibrate again.")
        return replace(session, calibration=proposal.calibration)

    def show_use(self, session: Session) -> Changes:
        """Show whether the user's calibration is in use."""
        return {
            self.use_line: gr.update(
                value=calibration_in_use(session.calibration), visible=session.calibration is not None
            ),
            self.back: gr.update(visible=session.calibration is not None),
        }


def example_scores(model: Model) -> dict[bool, list[float]]:
    """Return the scores of the model's own examples, by whether they are defective."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    for path in model.examples():
        is_defective = path not in model.good_examples()
        with turn_for(path):
            scores[is_defective].append(inspect_picture(model, str(path)).verdict.score)
    return scores


def deciding(batch: Batch, calibration: Calibration | None, left_out: Sequence[int]) -> list[tuple[str, int]]:
    """Return the pictures that set the threshold and those left out, highest score first: (name, row)."""
    rows = {i: row.result.verdict.score for i, row in enumerate(batch.rows) if row.result.verdict}
    kept = [i for i in rows if i not in left_out]
    found = [kept[k] for k in calibration.deciding([rows[i] for i in kept])] if calibration else []
    shown = sorted([*found[:MAX_DECIDING], *left_out], key=lambda i: -rows[i])
    return [(f"{batch.rows[i].result.file} ({score_text(rows[i])})", i) for i in shown]


def config_with(model: Model, calibration: Calibration) -> bytes:
    """Return the `model_index.json` of the model with another calibration."""
    pipeline = copy.copy(model.pipeline).configure(calibration=calibration)  # a copy: the model is shared
    return pipeline.to_json_string().encode()


def _judged(row: Row, threshold: float) -> Row:
    """Judge a row at another threshold. It gets no p-values, which would count the picture itself."""
    verdict = row.result.verdict
    if verdict is None:
        return row
    is_anomalous = verdict.score > threshold
    judged = Verdict(is_anomalous, verdict.score, threshold, marks_left_out=verdict.marks_left_out)
    return replace(row, result=replace(row.result, verdict=judged))
