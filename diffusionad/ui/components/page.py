"""What the tabs share: the page around them, and the choices of one user's session."""

from dataclasses import dataclass

import gradio as gr

from diffusionad.postprocessing.calibration import Calibration
from diffusionad.ui.serving.model_registry import Model, ModelRegistry

STATE_SECONDS = 3600  # how long the state of a session that has ended is kept


@dataclass(frozen=True)
class Session:
    """Choices of one user; no other user sees them.

    Attributes:
        model: name, folder or Hub id of a model that has been loaded; None before the first.
        calibration: made by the user for this model and session, in place of the model's own.
        example: caption of the example that the page's address names; None is the model's first.
    """

    model: str | None = None
    calibration: Calibration | None = None
    example: str | None = None


@dataclass(frozen=True)
class Page:
    """The page being built, for the functions that build its tabs.

    Attributes:
        app: the whole page.
        tabs: `gr.Tabs(selected="inspect")` as an event's output shows another tab; ids are the names in lower
            case.
        registry: the models to choose from.
        session: the `Session`. Its `change` event fires on another model or calibration.
        picture_to_inspect: path, as `serve_file` returns it, of a picture from another tab; Inspect takes it
            and sets it back to None.
    """

    app: gr.Blocks
    tabs: gr.Tabs
    registry: ModelRegistry
    session: gr.State
    picture_to_inspect: gr.State

    def model(self, session: Session) -> Model:
        """Return the user's model, loaded; before a choice the first on offer."""
        return self.registry.get(session.model)

    def threshold(self, session: Session) -> float:
        """Return the threshold of the user's calibration, else the model's own."""
        if session.calibration:
            return session.calibration.threshold
        return self.model(session).pipeline.config.threshold

    def calibration(self, session: Session) -> Calibration | None:
        """Return the user's calibration, else the model's own."""
        saved = self.model(session).pipeline.config.calibration
        return session.calibration or (Calibration.from_dict(saved) if saved else None)
