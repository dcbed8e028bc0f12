"""The web page, built with Gradio; no other part of the package imports gradio."""

from diffusionad.ui.app import build_app
from diffusionad.ui.components.theme import LAUNCH_OPTIONS

__all__ = ["LAUNCH_OPTIONS", "build_app"]
