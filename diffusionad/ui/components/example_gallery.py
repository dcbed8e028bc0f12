"""The examples of a model, to click; the frame is around the one that is shown."""

from typing import Any

import gradio as gr

from diffusionad.ui.serving.files import example_caption, serve_file
from diffusionad.ui.serving.model_registry import Model

NOT_SELECTED = gr.update(selected_index=None)  # the user's own picture is shown


def build_gallery() -> gr.Gallery:
    """Return the gallery, hidden until there is a model."""
    return gr.Gallery(
        label="Examples: click one",
        columns=4,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="examples",
    )


def show_examples(model: Model, caption: str | None) -> tuple[dict[str, Any], str | None]:
    """Return the gallery's new value, and the picture to show first.

    Args:
        model: loaded.
        caption: of that picture; the first example where none is called so.
    """
    pictures = [(serve_file(path), example_caption(path)) for path in model.examples()]
    if not pictures:
        return gr.update(value=[], visible=False, selected_index=None), None
    captions = [caption for _, caption in pictures]
    first = captions.index(caption) if caption in captions else 0
    return gr.update(value=pictures, visible=True, selected_index=first), pictures[first][0]
