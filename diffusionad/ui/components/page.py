"""What the tabs share: the page around them, and what one visitor has chosen on it."""

from dataclasses import dataclass

import gradio as gr

from diffusionad.postprocessing.calibration import Calibration
from diffusionad.ui.serving.model_registry import Model, ModelRegistry

STATE_SECONDS = 3600  # how long what a visitor leaves behind is kept


@dataclass(frozen=True)
class Visit:
    """One visitor's choices; they never reach another one.

    Attributes:
        model: name, folder or Hub id of a model that has been loaded; None before the first.
        calibration: made by the visitor for this model and this visit, in place of the model's own.
    """

    model: str | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Page:
    """The page being built, for the functions that build its tabs.

    Attributes:
        app: the whole page.
        tabs: `gr.Tabs(selected="inspect")` as an event's output shows another tab; ids are the names in lower
            case.
        registry: the models to choose from.
        visit: the `Visit`. Its `change` says that the model or the calibration is another one now.
        handed: path, as `files.served` gives it, of a picture that another tab wants inspected; Inspect takes
            it, and sets it back to None.
    """

    app: gr.Blocks
    tabs: gr.Tabs
    registry: ModelRegistry
    visit: gr.State
    handed: gr.State

    def model(self, visit: Visit) -> Model:
        """The visitor's model, loaded; the first one on offer before a choice."""
        return self.registry.get(visit.model)

    def threshold(self, visit: Visit) -> float:
        """That of the visitor's calibration, else the model's own."""
        return (
            visit.calibration.threshold if visit.calibration else self.model(visit).pipeline.config.threshold
        )
