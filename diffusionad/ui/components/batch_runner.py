"""Many files of one user, from the upload to the rows: shared by the Batch and the Calibrate tab."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from diffusionad.postprocessing.verdict import Verdict
from diffusionad.ui.components.events import BACKGROUND, BATCH_QUEUE, Changes, queue_position_on
from diffusionad.ui.components.page import STATE_SECONDS, Page, Session
from diffusionad.ui.components.snippets import waiting_banner
from diffusionad.ui.components.static_files import read_static_file
from diffusionad.ui.components.summaries import progress
from diffusionad.ui.serving.batch_inspection import Row, inspect_batch
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import Upload, serve_file
from diffusionad.ui.serving.temporary import new_folder
from diffusionad.ui.serving.uploads import FILE_TYPES, MAX_FILE_MB, MAX_PICTURES, collect_pictures


@dataclass(eq=False)
class Batch:
    """One user's pictures; the folder is removed with it.

    Attributes:
        folder: `pictures/` as they came, and `output/` with the overlays.
        session: at the start of the run; it names the model, which may be unloaded meanwhile.
        threshold: in force at the start of the run.
        rows: grow while it runs.
    """

    folder: Path
    session: Session
    threshold: float
    rows: list[Row] = field(default_factory=list)

    @property
    def output(self) -> Path:
        """Folder of the overlays."""
        return self.folder / "output"

    def verdicts(self) -> list[Verdict]:
        """Return the verdicts of the pictures that could be read."""
        return [row.result.verdict for row in self.rows if row.result.verdict]

    def scores(self) -> list[float]:
        """Return the scores of the pictures that could be read."""
        return [verdict.score for verdict in self.verdicts()]

    def peaks(self) -> list[float]:
        """Return the maps' maxima of the pictures that could be read."""
        return [row.peak for row in self.rows if row.result.verdict]

    def appearances(self) -> list[np.ndarray]:
        """Return the statistics [K] of the pictures that could be read."""
        return [row.appearance for row in self.rows if row.appearance is not None]


def delete_files(batch: Batch | None) -> None:
    """Remove the files of a batch."""
    if batch is not None:
        shutil.rmtree(batch.folder, ignore_errors=True)


class BatchRunner:
    """File list, button, status and table of a batch.

    Args:
        page: around the tab.
        name: of the tab, in lower case: ids start with it.
        label: of the files.
        button: its text.
        start: status before there are files.
    """

    def __init__(self, page: Page, name: str, label: str, button: str, start: str):
        self.page, self.name, self.start = page, name, start
        self.batch = gr.State(None, time_to_live=STATE_SECONDS, delete_callback=delete_files)
        self.files = gr.File(
            file_count="multiple",
            file_types=FILE_TYPES,
            label=f"{label}: up to {MAX_PICTURES} pictures or a ZIP, {MAX_FILE_MB} MB a file",
            height=220,
            elem_id=f"{name}-files",
        )
        self.button = gr.Button(button, variant="primary", size="lg", elem_id=f"{name}-button")
        self.stop = gr.Button("Stop", visible=False, elem_id=f"{name}-stop")

    def build_status(self) -> None:
        """Add the status at this place of the layout."""
        self.status = gr.HTML(waiting_banner(self.start), elem_id=f"{self.name}-status")

    def build_table(self) -> None:
        """Add the table at this place of the layout."""
        script = read_static_file("sort_and_open_rows.js")
        self.table = gr.HTML(js_on_load=script, apply_default_css=False, elem_id=f"{self.name}-table")

    def connect(
        self,
        finish: Callable[..., Changes],
        inputs: Sequence[gr.components.Component],
        outputs: Sequence[gr.blocks.Block],
        results: gr.Column,
    ) -> None:
        """Connect the events.

        Args:
            finish: (batch, values of `inputs`) -> what to show of its rows.
            inputs: further components.
            outputs: the components that `finish` may change.
            results: shown when there are some.
        """
        shown = list(dict.fromkeys([self.status, self.stop, results, self.table, *outputs]))

        def finish_batch(batch: Batch | None, *values: Any) -> Changes:
            if batch is None or not batch.rows:
                return blank(None)
            return {self.stop: gr.update(visible=False), **finish(batch, *values)}

        def blank(files: list[Upload] | None) -> Changes:
            text = f"Press {self.button.value}." if files else self.start
            hidden = gr.update(visible=False)
            return {self.status: waiting_banner(text), results: hidden, self.stop: hidden}

        def run(files: list[Upload] | None, session: Session, last: Batch | None) -> Iterator[Changes]:
            yield {results: gr.update(visible=False), self.stop: gr.update(visible=True)}
            yield from self.run(files, session, last)

        ran = self.button.click(
            run,
            [self.files, self.page.session, self.batch],
            [self.batch, self.status, results, self.stop],
            preprocess=False,
            **queue_position_on(self.status),
            **BATCH_QUEUE,
        )
        finished = ran.success(finish_batch, [self.batch, *inputs], shown, **BACKGROUND)
        for event in (ran, finished):
            event.failure(blank, self.files, shown, preprocess=False, **BACKGROUND)
        self.stop.click(finish_batch, [self.batch, *inputs], shown, cancels=ran, **BACKGROUND)
        files_changed = [self.files.upload, self.files.clear, self.files.delete]
        gr.on(files_changed, blank, self.files, shown, preprocess=False, **BACKGROUND)
        self.table.click(self.open_row, self.batch, self.page.picture_to_inspect, **BACKGROUND)

    def run(self, files: list[Upload] | None, session: Session, last: Batch | None) -> Iterator[Changes]:
        """Inspect all files, and delete those of the run before."""
        delete_files(last)
        yield {self.batch: None, self.status: waiting_banner("Unpacking …")}
        model = self.page.model(session)
        batch = Batch(new_folder(), session, self.page.threshold(session))
        yield {self.batch: batch}  # from here on Gradio deletes the folder when the session ends
        folder = batch.folder / "pictures"
        folder.mkdir()
        batch.output.mkdir()
        with user_errors():
            pictures = collect_pictures(files, folder)
            yield {self.status: progress(0, len(pictures))}
            for row in inspect_batch(model, pictures, batch.output, calibration=session.calibration):
                batch.rows.append(row)
                yield {self.status: progress(len(batch.rows), len(pictures))}

    def open_row(self, event: gr.EventData, batch: Batch | None) -> str:
        """Hand the picture of a row to the Inspect tab."""
        path = batch.rows[event.row].path if batch else None
        if path is None or not path.exists():
            raise gr.Error("This picture is no longer kept here; drop it again.", print_exception=False)
        return serve_file(path)
