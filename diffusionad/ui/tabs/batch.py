"""The Batch tab: many pictures or a ZIP of them; a table, how the scores lie, files to take home."""

import gradio as gr

from diffusionad.ui.components.batch_runner import Batch, ManyFiles
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.page import Page
from diffusionad.ui.components.result_view import Changes
from diffusionad.ui.components.results_table import table
from diffusionad.ui.components.summaries import batch_summary
from diffusionad.ui.serving.batch_inspection import export
from diffusionad.ui.serving.files import served


def build_batch(page: Page) -> None:
    """The tab, on a page being built."""
    BatchTab(page)


class BatchTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        with gr.Row(elem_id="batch"):
            with gr.Column(scale=4, min_width=300):
                start = "Drop pictures, or a ZIP of them, and press Inspect all."
                self.many = ManyFiles(page, "batch", "Parts", "Inspect all", start)
            with gr.Column(scale=7, min_width=300):
                self.many.build_status()
                with gr.Column(visible=False) as self.results:
                    self.histogram = gr.HTML(elem_id="batch-histogram")
                    with gr.Row():
                        self.csv = gr.DownloadButton("Results as CSV", elem_id="batch-csv")
                        self.zip = gr.DownloadButton("Overlays as ZIP", elem_id="batch-zip")
                    self.many.build_table()
        self.many.connect(self.finish, [], [self.histogram, self.csv, self.zip], self.results)

    def finish(self, batch: Batch) -> Changes:
        """Everything about the rows that there are."""
        model = self.page.model(batch.visit)
        csv, archive = export(model, batch.rows, batch.output)
        scores = batch.scores()
        return {
            self.many.status: batch_summary(model, batch.threshold, [row.result for row in batch.rows]),
            self.histogram: histogram(scores, {"threshold": batch.threshold}) if scores else "",
            self.many.table: table(batch.rows),
            self.csv: served(csv),
            self.zip: served(archive),
            self.results: gr.update(visible=True),
        }
