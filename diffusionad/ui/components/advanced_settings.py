"""Controls for users who know the method; each model fills them with its own values."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from diffusionad.settings import OF_GUIDANCE
from diffusionad.ui.components.events import BACKGROUND
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import expected_line
from diffusionad.ui.serving.model_registry import Model


class AdvancedSettings:
    """One control for each argument of the pipeline's call that a user may change.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        # Narrower than the pipeline's ranges where more would keep other users waiting.
        self.controls: dict[str, gr.Slider | gr.Number] = {
            "t_fine": _slider(0, 998, 200, 1, "Little noise", "timestep t_fine"),
            "t_coarse": _slider(1, 999, 400, 1, "A lot of noise", "timestep t_coarse"),
            "guidance_weight": _slider(0, 4, 1, 0.05, "Guidance weight", "0 uses the little noise alone"),
            "num_inference_steps": _slider(
                1, 50, 1, 1, "Steps", "1 is the method; more is classical denoising"
            ),
            "num_noise_samples": _slider(1, 8, 1, 1, "Noise draws", "averaged; time grows with them"),
            "min_region_area": _count("Smallest region", "pixels; smaller ones are no defect"),
            "ignore_border": _slider(
                0, 255, 0, 1, "Ignored border", "pixels at the size that the model sees"
            ),
            "seed": _count("Seed", "of the noise"),
        }
        self.time = gr.HTML(elem_id="expected-time")

    def connect(self) -> None:
        """Show the expected time when a setting changes it."""
        counts = [self.controls[name] for name in ("num_inference_steps", "num_noise_samples")]
        gr.on(
            [control.change for control in counts],
            self.expected_time,
            [self.page.session, *counts],
            self.time,
            trigger_mode="always_last",
            **BACKGROUND,
        )

    def expected_time(self, session: Session, steps: int, draws: int) -> str:
        """Say how long the next inspection takes."""
        model = self.page.model(session)
        seconds = model.expected_seconds(num_inference_steps=steps, num_noise_samples=draws)
        return expected_line(seconds, model.device)

    def components(self) -> list[gr.Slider | gr.Number]:
        """Return the controls in their order."""
        return list(self.controls.values())

    def arguments(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return arguments of `inspect_picture` from raw values of the controls; check their ranges."""
        pairs = zip(self.controls.items(), values, strict=True)
        return {name: control.preprocess(value) for (name, control), value in pairs}

    def values_of(self, model: Model) -> dict[gr.blocks.Block, Any]:
        """Return the model's own value of each control; the guidance of a distilled model is fixed."""
        config = model.pipeline.config
        fixed = OF_GUIDANCE if config.denoising == "distilled" else ()
        return {
            control: gr.update(value=config[name], interactive=name not in fixed)
            for name, control in self.controls.items()
        }


def _count(label: str, info: str) -> gr.Number:
    return gr.Number(0, precision=0, minimum=0, label=label, info=info, min_width=130)


def _slider(low: float, high: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(low, high, value, step=step, label=label, info=info, buttons=[])
