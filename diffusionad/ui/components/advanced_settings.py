"""The controls for those who know the method; each model fills them with its own values."""

from typing import Any

import gradio as gr

from diffusionad.ui.components.page import Page, Visit
from diffusionad.ui.components.snippets import expected_line
from diffusionad.ui.serving.model_registry import Model


class Settings:
    """One control for each argument of the pipeline's call that a visitor may change."""

    def __init__(self) -> None:
        # Shorter than what the pipeline takes where more would keep other visitors waiting.
        self.controls = {
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

    def connect(self, page: Page) -> None:
        """Say how long it takes, before it is done."""
        self.page = page
        counts = [self.controls[name] for name in ("num_inference_steps", "num_noise_samples")]
        gr.on(
            [control.change for control in counts],
            self.expected,
            [page.visit, *counts],
            self.time,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )

    def expected(self, visit: Visit, steps: int, draws: int) -> str:
        """How long the next inspection takes."""
        model = self.page.model(visit)
        seconds = model.expected_seconds(num_inference_steps=steps, num_noise_samples=draws)
        return expected_line(seconds, model.device)

    def components(self) -> list[gr.components.Component]:
        return list(self.controls.values())

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Arguments of `inspect_picture` from raw values of the controls, their ranges checked."""
        pairs = zip(self.controls.items(), values, strict=True)
        return {name: control.preprocess(value) for (name, control), value in pairs}

    def own(self, model: Model) -> dict[gr.blocks.Block, Any]:
        """What the controls show for a model."""
        return {control: model.pipeline.config[name] for name, control in self.controls.items()}


def _count(label: str, info: str) -> gr.Number:
    return gr.Number(0, precision=0, minimum=0, label=label, info=info, min_width=130)


def _slider(low: float, high: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(low, high, value, step=step, label=label, info=info, buttons=[])
