"""The choice of the model, above the tabs: it holds for all of them."""

from dataclasses import replace
from typing import Any

import gradio as gr

from diffusionad.ui.components.events import BACKGROUND, run_model_on
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import NO_MODEL_CARD, model_card
from diffusionad.ui.serving.model_registry import ModelRegistry


class ModelPicker:
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
                        label="Id of a DiffusionAD model on the Hub",
                        placeholder="org/name",
                        max_lines=1,
                        elem_id="own-model-name",
                    )
                    self.load = gr.Button("Load", size="sm", elem_id="load-model")
            with gr.Column(scale=7, min_width=300):
                self.card = gr.HTML(NO_MODEL_CARD, elem_id="model-card")

    def connect(self, page: Page) -> None:
        """Connect the events, once the page has its tabs."""
        outputs = [page.session, self.model, self.card]
        heavy = run_model_on(self.card)
        page.app.load(self.open, [self.model, page.session], outputs, **heavy)
        chosen = self.model.input(self.choose, [self.model, page.session], outputs, **heavy)
        # A model that could not be loaded is not in use.
        chosen.failure(lambda session: session.model, page.session, self.model, **BACKGROUND)
        page.session.change(self.show_card, page.session, self.card, **BACKGROUND)
        gr.on([self.load.click, self.own.submit], self.choose_own, [self.own, page.session], outputs, **heavy)

    def open(self, name: str | None, session: Session, request: gr.Request) -> tuple[Session, Any, str]:
        """Take the model and the example that the page's address names, if they are on offer."""
        named = request.query_params.get("model")
        if named not in self.registry.names():
            return self.choose(name, session)
        session, _, card = self.choose(named, session)
        session = replace(session, example=request.query_params.get("example"))
        return session, gr.update(value=named), card

    def show_card(self, session: Session) -> str:
        """Show the user's model with the calibration in force."""
        if session.model is None:
            return NO_MODEL_CARD
        return model_card(self.registry.get(session.model), session.calibration)

    def choose(self, name: str | None, session: Session) -> tuple[Session, Any, str]:
        """Take a model on offer; drop the user's calibration if it was made for another one."""
        if not name:
            return session, gr.skip(), NO_MODEL_CARD
        model = self.registry.get(name)
        session = session if session.model == model.name else Session(model.name)
        return session, gr.skip(), model_card(model, session.calibration)

    def choose_own(self, name: str, session: Session) -> tuple[Session, Any, str]:
        """Take a model that the user has named, and add it to this user's list."""
        model = self.registry.get(name.strip() or None)
        session, _, card = self.choose(model.name, session)
        choices = list(dict.fromkeys([*self.registry.names(), model.name]))
        return session, gr.update(choices=choices, value=model.name), card
