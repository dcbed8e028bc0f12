"""The app: a sentence on what this is, and the tabs."""

import gradio as gr

from diffusionad.ui.api import add_endpoints
from diffusionad.ui.inspect import InspectTab
from diffusionad.ui.models import ModelRegistry

INTRO = """
<h1>DiffusionAD</h1>
<p>Finds defects in pictures of parts, marks them, and shows what the part should have looked like.</p>
<p class="how">It has learned from good parts only: a diffusion model repairs the picture in one step, and
what had to be repaired is the anomaly.
<a href="https://arxiv.org/abs/2303.08730" target="_blank">Read the paper</a></p>
"""

# Tab name -> what builds it, given the models and the page.
TABS = {"Inspect": InspectTab}

FILE_SECONDS = 24 * 3600  # uploads and results older than this are deleted


def build_app(models: list[str] | None = None) -> gr.Blocks:
    """The screens, ready for `queue().launch()`.

    Args:
        models: folders, Hub ids and organisations to offer beside the embedded models; None reads
            `DIFFUSIONAD_MODELS`.
    """
    registry = ModelRegistry(models)
    with gr.Blocks(title="DiffusionAD", analytics_enabled=False, delete_cache=(3600, FILE_SECONDS)) as app:
        add_endpoints(registry)  # first, so that no event of a tab takes their names
        gr.HTML(INTRO, elem_id="intro")
        with gr.Tabs():
            for name, build_tab in TABS.items():
                with gr.Tab(name, id=name.lower()):
                    build_tab(registry, app)
    return app
