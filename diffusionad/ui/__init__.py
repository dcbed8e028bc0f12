"""The Gradio screens, one file a tab; the only place that imports gradio."""

from diffusionad.ui.app import build_app
from diffusionad.ui.style import CSS, THEME

__all__ = ["CSS", "THEME", "build_app"]
