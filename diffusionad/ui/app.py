"""The app: introduction, choice of the model, and the tabs."""

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from diffusionad.ui.api import add_endpoints
from diffusionad.ui.components.model_picker import ModelPicker
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import FOOTER
from diffusionad.ui.serving.allowed_hosts import AllowedHosts, allowed_hosts
from diffusionad.ui.serving.errors import unhandled_errors
from diffusionad.ui.serving.files import check_event_files
from diffusionad.ui.serving.large_pictures import max_megapixels
from diffusionad.ui.serving.model_registry import ModelRegistry
from diffusionad.ui.serving.temporary import isolate_gradio_files
from diffusionad.ui.tabs.about import build_about
from diffusionad.ui.tabs.batch import build_batch
from diffusionad.ui.tabs.calibrate import build_calibrate
from diffusionad.ui.tabs.draw import build_draw
from diffusionad.ui.tabs.inspect import build_inspect

DESCRIPTION = "Finds the defect, and shows what the part should have looked like."
INTRO = f"""
<h1>DiffusionAD</h1>
<p>{DESCRIPTION}</p>
"""

# Tab name -> function that adds it to a page.
TABS = {
    "Inspect": build_inspect,
    "Draw": build_draw,
    "Batch": build_batch,
    "Calibrate": build_calibrate,
    "About": build_about,
}

# Links to the page show this picture where a messenger or a forum previews them.
THUMBNAIL = "https://raw.githubusercontent.com/diffusionad/diffusionad/main/docs/images/verdict.png"

FILE_SECONDS = 6 * 3600  # uploads and results older than this are deleted
CLEAN_UP_SECONDS = 1800  # between two looks for them


class Screens(gr.Blocks):
    """Gradio's page, closed to foreign sites; errors of Gradio itself become a sentence, no bare "Error"."""

    def launch(self, *args: Any, **options: Any) -> Any:
        """Launch as Gradio does; requests of foreign sites are refused."""
        server_name = options.get("server_name")
        guard = Middleware(AllowedHosts, listed=allowed_hosts(), server_name=server_name)
        return super().launch(*args, **options | {"app_kwargs": {"middleware": [guard]}})

    def get_config_file(self) -> Any:
        """Return what Gradio tells the browser, with a preview of ours in place of Gradio's."""
        return {**super().get_config_file(), "thumbnail": THUMBNAIL, "simple_description": DESCRIPTION}

    async def process_api(
        self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Run an event as Gradio does, once its files are known to be files."""
        with unhandled_errors():
            check_event_files(inputs)
            return await super().process_api(block_fn, inputs, *args, **kwargs)


def build_app(models: list[str] | None = None) -> gr.Blocks:
    """Build the page, ready for `queue().launch()`.

    Args:
        models: folders, Hub ids and organisations to offer beside the embedded models; None reads
            `DIFFUSIONAD_MODELS`.

    Raises:
        ValueError: `DIFFUSIONAD_MAX_MEGAPIXELS` is no limit.
    """
    max_megapixels()  # for its error: at the start, not at the first picture
    isolate_gradio_files()
    registry = ModelRegistry(models)
    clean_up = (CLEAN_UP_SECONDS, FILE_SECONDS)
    with Screens(title="DiffusionAD", analytics_enabled=False, delete_cache=clean_up) as app:
        add_endpoints(registry)  # first: a tab's event must not take their names
        gr.HTML(INTRO, elem_id="intro")
        picker = ModelPicker(registry)
        session, picture_to_inspect = gr.State(Session()), gr.State(None)
        with gr.Tabs(elem_id="tabs") as tabs:
            page = Page(app, tabs, registry, session, picture_to_inspect)
            for name, build_tab in TABS.items():
                with gr.Tab(name, id=name.lower(), elem_id=f"{name.lower()}-tab"):
                    build_tab(page)
        gr.HTML(FOOTER, elem_id="footer")
        picker.connect(page)
    return app
