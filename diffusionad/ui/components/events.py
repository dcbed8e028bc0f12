"""What event handlers return, and the options that many events share."""

from typing import Any

import gradio as gr

from diffusionad.ui.serving.model_registry import SLOTS

Changes = dict[gr.blocks.Block, Any]  # new values by component; components that are not named stay

BACKGROUND: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

# Long runs have slots of their own, so that a single picture never waits for one to end.
BATCH_QUEUE: dict[str, Any] = {"concurrency_id": "many", "concurrency_limit": 2}

# Several at once: the download of a model must not stop other users; calls of one model are serialized.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": SLOTS}


def run_model_on(component: gr.components.Component) -> dict[str, Any]:
    """Return the options of an event that runs a model and shows its progress over one component."""
    return {**MODEL_QUEUE, "show_progress_on": component, "api_visibility": "private"}


def queue_position_on(component: gr.components.Component) -> dict[str, Any]:
    """Return the options of an event that shows the place in the queue on one component only."""
    return {"show_progress": "minimal", "show_progress_on": component, "api_visibility": "private"}
