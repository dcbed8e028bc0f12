"""What programs may call: `/models` and `/inspect`, for gradio_client and plain HTTP."""

from dataclasses import asdict
from typing import Any

import gradio as gr

from diffusionad.ui.files import Upload, inspect_upload, png_bytes, written
from diffusionad.ui.models import ModelRegistry


def add_endpoints(registry: ModelRegistry) -> None:
    """Endpoints without a place on the screen."""

    def models() -> list[str]:
        """Names of the models that this app offers."""
        return registry.names()

    def inspect(
        image: Upload | None, model: str | None = None, threshold: float | None = None
    ) -> tuple[dict[str, Any], str, str]:
        inspected = inspect_upload(registry.get(model), image, threshold=threshold)
        answer = {
            "verdict": inspected.verdict.word,
            **asdict(inspected.verdict),
            "regions": [asdict(region) for region in inspected.regions],
            "model": inspected.model,
            "device": inspected.device,
            "seconds": round(inspected.seconds, 4),
        }
        drawn, repaired = map(png_bytes, (inspected.draw(), inspected.reconstruction))
        return answer, written(drawn, "overlay.png"), written(repaired, "reconstruction.png")

    gr.api(models, api_name="models")
    # Real components, so that Gradio itself refuses any file that the caller has not uploaded.
    with gr.Row(visible=False):
        image = gr.Image(type="filepath", image_mode=None, label="Picture")
        model = gr.Textbox(label="Model: one of /models, a folder or a Hub id; None is the first of /models")
        threshold = gr.Number(None, label="Threshold in 0..1; None is the model's own")
        verdict = gr.JSON(label="Verdict, score, threshold, p-value, regions")
        overlay = gr.Image(format="png", label="Picture with heat map and contours, at its own size")
        reconstruction = gr.Image(format="png", label="What it should have looked like, at its own size")
        gr.Button().click(
            inspect,
            [image, model, threshold],
            [verdict, overlay, reconstruction],
            preprocess=False,
            api_name="inspect",
            api_description="Inspect one picture: verdict, overlay and reconstruction.",
            concurrency_id="model",
            concurrency_limit=4,
        )
