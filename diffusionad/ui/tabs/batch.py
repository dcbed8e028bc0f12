"""The Batch tab: many pictures or a ZIP of them; a table, a histogram of the scores, files to download."""

import gradio as gr

from diffusionad.ui.components.batch_runner import Batch, BatchRunner
from diffusionad.ui.components.events import Changes
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.page import Page
from diffusionad.ui.components.results_table import results_table
from diffusionad.ui.components.summaries import batch_summary
from diffusionad.ui.serving.batch_inspection import export_results
from diffusionad.ui.serving.files import serve_file


def build_batch(page: Page) -> None:
    """Add the tab to a page being built."""
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
                self.runner = BatchRunner(page, "batch", "Parts", "Inspect all", start)
            with gr.Column(scale=7, min_width=300):
                self.runner.build_status()
                with gr.Column(visible=False) as self.results:
                    self.histogram = gr.HTML(elem_id="batch-histogram")
                    with gr.Row():
                        self.csv = gr.DownloadButton("Results as CSV", elem_id="batch-csv")
                        self.zip = gr.DownloadButton("Overlays as ZIP", elem_id="batch-zip")
                    self.runner.build_table()
        self.runner.connect(self.finish, [], [self.histogram, self.csv, self.zip], self.results)

    def finish(self, batch: Batch) -> Changes:
        """Show summary, histogram, table and downloads of the rows."""
        model = self.page.model(batch.session)
        csv, archive = export_results(model, batch.rows, batch.output)
        scores = batch.scores()
        return {
            self.runner.status: batch_summary(model, batch.threshold, [row.result for row in batch.rows]),
            self.histogram: histogram(scores, {"threshold": batch.threshold}) if scores else "",
            self.runner.table: results_table(batch.rows),
            self.csv: serve_file(csv),
            self.zip: serve_file(archive),
            self.results: gr.update(visible=True),
        }
