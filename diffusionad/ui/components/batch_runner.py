"""Many files of one visitor's, from the drop to the rows: what the Batch and the Calibrate tab share."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from diffusionad.ui.components.page import STATE_SECONDS, Page, Visit
from diffusionad.ui.components.result_view import LIGHT, Changes, place_shown_on
from diffusionad.ui.components.results_table import SORT_AND_OPEN
from diffusionad.ui.components.snippets import waiting
from diffusionad.ui.components.summaries import progress
from diffusionad.ui.serving.batch_inspection import Row, inspect_many
from diffusionad.ui.serving.errors import in_one_sentence
from diffusionad.ui.serving.files import Upload, served
from diffusionad.ui.serving.temporary import new_folder
from diffusionad.ui.serving.uploads import FILE_TYPES, MAX_FILE_MB, MAX_PICTURES, gather

# Long runs have slots of their own, so that single pictures never wait for one to end.
MANY = {"concurrency_id": "many", "concurrency_limit": 2}


@dataclass(eq=False)
class Batch:
    """One visitor's pictures; the folder goes away with it.

    Attributes:
        folder: `pictures/` as they came and `output/` with what was drawn.
        visit: as it was when the run began; it names the model, which may be unloaded meanwhile.
        threshold: in force when the run began.
        rows: grow while it runs.
    """

    folder: Path
    visit: Visit
    threshold: float
    rows: list[Row] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def read(self) -> list[Row]:
        """Of the pictures that could be read."""
        return [row for row in self.rows if row.result.verdict]

    def scores(self) -> list[float]:
        """Of those."""
        return [row.result.verdict.score for row in self.read()]


def forget(batch: Batch | None) -> None:
    """Remove a visitor's files."""
    if batch is not None:
        shutil.rmtree(batch.folder, ignore_errors=True)


class ManyFiles:
    """Where files are dropped, the button that runs them, how far it is, and the table of them.

    Args:
        page: around the tab.
        name: of the tab, in lower case: ids start with it.
        label: of the files.
        button: its text.
        start: what the status says before there are files.
    """

    def __init__(self, page: Page, name: str, label: str, button: str, start: str):
        self.page, self.name, self.start = page, name, start
        self.batch = gr.State(None, time_to_live=STATE_SECONDS, delete_callback=forget)
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
        """Where the layout wants it."""
        self.status = gr.HTML(waiting(self.start), elem_id=f"{self.name}-status")

    def build_table(self) -> None:
        """Where the layout wants it."""
        self.table = gr.HTML(js_on_load=SORT_AND_OPEN, apply_default_css=False, elem_id=f"{self.name}-table")

    def connect(
        self, finish: Callable[..., Changes], inputs: list, outputs: list, results: gr.Column
    ) -> None:
        """Events.

        Args:
            finish: (batch, values of `inputs`) -> what to show of the rows that there are.
            inputs: further components.
            outputs: what `finish` may change.
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
            return {self.status: waiting(text), results: hidden, self.stop: hidden}

        def run(files: list[Upload] | None, visit: Visit, last: Batch | None) -> Iterator[Changes]:
            yield {results: gr.update(visible=False), self.stop: gr.update(visible=True)}
            yield from self.run(files, visit, last)

        ran = self.button.click(
            run,
            [self.files, self.page.visit, self.batch],
            [self.batch, self.status, results, self.stop],
            preprocess=False,
            **place_shown_on(self.status),
            **MANY,
        )
        finished = ran.success(finish_batch, [self.batch, *inputs], shown, **LIGHT)
        for event in (ran, finished):
            event.failure(blank, self.files, shown, preprocess=False, **LIGHT)
        self.stop.click(finish_batch, [self.batch, *inputs], shown, cancels=ran, **LIGHT)
        dropped = [self.files.upload, self.files.clear, self.files.delete]
        gr.on(dropped, blank, self.files, shown, preprocess=False, **LIGHT)
        self.table.click(self.open, self.batch, self.page.handed, **LIGHT)

    def run(self, files: list[Upload] | None, visit: Visit, last: Batch | None) -> Iterator[Changes]:
        """Inspect all files; what came before goes away."""
        forget(last)
        yield {self.batch: None, self.status: waiting("Unpacking …")}
        model = self.page.model(visit)
        batch = Batch(new_folder(), visit, self.page.threshold(visit))
        yield {self.batch: batch}  # from here on the folder goes away with the visitor
        pictures = batch.folder / "pictures"
        for folder in (pictures, batch.output):
            folder.mkdir()
        with in_one_sentence():
            dropped = gather(files, pictures)
            yield {self.status: progress(0, len(dropped))}
            for row in inspect_many(model, dropped, batch.output, calibration=visit.calibration):
                batch.rows.append(row)
                yield {self.status: progress(len(batch.rows), len(dropped))}

    def open(self, event: gr.EventData, batch: Batch | None) -> Any:
        """Hand the picture of a row to the Inspect tab."""
        path = batch.rows[event.row].path if batch else None
        if path is None or not path.exists():
            raise gr.Error("This picture is no longer kept here; drop it again.", print_exception=False)
        return served(path)
