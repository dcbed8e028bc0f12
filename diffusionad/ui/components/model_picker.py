"""The choice of the model, above the tabs: it holds for all of them."""

import gradio as gr

from diffusionad.ui.components.page import Page, Visit
from diffusionad.ui.components.snippets import NO_MODEL_CARD, model_card
from diffusionad.ui.serving.model_registry import SLOTS, ModelRegistry


class Picker:
    """Layout and events.

    Args:
        registry: the models to choose from.
    """

    def __init__(self, registry: ModelRegistry):
        self.registry = registry
        names = registry.names()
        with gr.Row(elem_id="picker", equal_height=False):
            with gr.Column(scale=4, min_width=300):
                self.model = gr.Dropdown(
                    names, value=names[0] if names else None, label="Model", elem_id="model"
                )
                with gr.Accordion("Use another model", open=not names, elem_id="own-model"):
                    self.own = gr.Textbox(
                        label="Folder of a DiffusionAD model, or its id on the Hub",
                        placeholder="org/name",
                        max_lines=1,
                        elem_id="own-model-name",
                    )
                    self.load = gr.Button("Load", size="sm", elem_id="load-model")
            with gr.Column(scale=7, min_width=300):
                self.card = gr.HTML(NO_MODEL_CARD, elem_id="model-card")

    def connect(self, page: Page) -> None:
        """Once the page has its tabs."""
        outputs = [page.visit, self.model, self.card]
        # Several at once: a visitor's download of a model must not stop the others; each model has its lock.
        heavy = {
            "concurrency_id": "model",
            "concurrency_limit": SLOTS,
            "show_progress_on": self.card,
            "api_visibility": "private",
        }
        light = {"show_progress": "hidden", "api_visibility": "private"}
        page.app.load(self.choose, [self.model, page.visit], outputs, **heavy)
        chosen = self.model.input(self.choose, [self.model, page.visit], outputs, **heavy)
        # What could not be loaded is not the model in use.
        chosen.failure(lambda visit: visit.model, page.visit, self.model, **light)
        gr.on([self.load.click, self.own.submit], self.choose_own, [self.own, page.visit], outputs, **heavy)

    def choose(self, name: str | None, visit: Visit) -> tuple:
        """Take a model on offer; the visitor's calibration stays with the model that it was made for."""
        if not name:
            return visit, gr.skip(), NO_MODEL_CARD
        model = self.registry.get(name)
        visit = visit if visit.model == model.name else Visit(model.name)
        return visit, gr.skip(), model_card(model)

    def choose_own(self, name: str, visit: Visit) -> tuple:
        """Take a model that the visitor has named, and put it on this visitor's list."""
        model = self.registry.get(name.strip() or None)
        visit, _, card = self.choose(model.name, visit)
        choices = list(dict.fromkeys([*self.registry.names(), model.name]))
        return visit, gr.update(choices=choices, value=model.name), card
