"""Endpoints for programs: `/models`, `/inspect` and `/batch`, for gradio_client, plain HTTP and MCP."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from diffusionad.ui.components.events import BATCH_QUEUE, MODEL_QUEUE
from diffusionad.ui.serving.batch_inspection import export_results, inspect_batch
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import Upload, checked_upload, png_bytes, serve_bytes, serve_file
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.model_registry import ModelRegistry
from diffusionad.ui.serving.temporary import new_folder
from diffusionad.ui.serving.uploads import FILE_TYPES, MAX_PICTURES, collect_pictures

MODEL = "Model: one of /models, or a Hub id; None is the first of /models"
THRESHOLD = "Threshold in 0..1; None is the model's own"


def add_endpoints(registry: ModelRegistry) -> None:
    """Add the endpoints, which have no place on the screen."""
    gr.api(_models_endpoint(registry), api_name="models")
    # Real components, so that Gradio itself refuses any file that the caller has not uploaded.
    with gr.Row(visible=False):
        _add_inspect(registry)
        _add_batch(registry)


def _models_endpoint(registry: ModelRegistry) -> Callable[[], list[str]]:
    def models() -> list[str]:
        """Names of the models that this app offers."""
        return registry.names()

    return models


def _add_inspect(registry: ModelRegistry) -> None:
    def inspect(
        image: Upload | None, model: str | None = None, threshold: float | None = None
    ) -> tuple[dict[str, Any], str, str]:
        loaded = registry.get(model)
        with checked_upload(image) as path:
            inspection = inspect_picture(loaded, path, threshold=threshold)
            shown = (
                inspection.reconstruction if inspection.verdict.is_known is not False else inspection.picture
            )
            drawn, repaired = map(png_bytes, (inspection.draw(), shown))
        answer = {
            "verdict": inspection.verdict.word,
            **asdict(inspection.verdict),
            "regions": [asdict(region) for region in inspection.regions],
            "known_marks": [asdict(mark) for mark in inspection.known_marks],
            "model": inspection.model,
            "device": inspection.device,
            "seconds": round(inspection.seconds, 4),
        }
        return answer, serve_bytes(drawn, "overlay.png"), serve_bytes(repaired, "reconstruction.png")

    gr.Button().click(
        inspect,
        [
            gr.Image(type="filepath", image_mode=None, label="Picture"),
            gr.Textbox(label=MODEL),
            gr.Number(None, label=THRESHOLD),
        ],
        [
            gr.JSON(label="Verdict, score, threshold, p-value, regions"),
            gr.Image(format="png", label="Picture with heat map and contours, at its own size"),
            gr.Image(format="png", label="What it should have looked like, at its own size"),
        ],
        preprocess=False,
        api_name="inspect",
        api_description="Inspect one picture: verdict, overlay and reconstruction.",
        **MODEL_QUEUE,
    )


def _add_batch(registry: ModelRegistry) -> None:
    def batch(
        files: list[Upload] | None, model: str | None = None, threshold: float | None = None
    ) -> tuple[list[dict[str, Any]], str, str]:
        with user_errors():
            if threshold is not None and not 0 <= threshold <= 1:
                raise ValueError(f"`threshold` is {threshold}; give a number in 0..1.")
            loaded, folder = registry.get(model), new_folder()
            pictures, output = folder / "pictures", folder / "output"
            try:
                pictures.mkdir()
                output.mkdir()
                found = collect_pictures(files, pictures)
                rows = list(inspect_batch(loaded, found, output, threshold=threshold))
                csv, archive = export_results(loaded, rows, output)
                return [row.result.to_dict() for row in rows], serve_file(csv), serve_file(archive)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    vars(batch)["_mcp_type"] = "none"  # Gradio's tools take no list of files; /inspect takes one file
    gr.Button().click(
        batch,
        [
            gr.File(file_count="multiple", file_types=FILE_TYPES, label="Pictures and ZIP archives of them"),
            gr.Textbox(label=MODEL),
            gr.Number(None, label=THRESHOLD),
        ],
        [
            gr.JSON(label="For each picture: verdict, score, threshold, p-value, regions; or its error"),
            gr.File(label="The same as results.csv"),
            gr.File(label="ZIP archive: overlays at the pictures' own sizes, results.csv, results.json"),
        ],
        preprocess=False,
        api_name="batch",
        api_description=f"Inspect up to {MAX_PICTURES} pictures; one that cannot be read gets its error.",
        **BATCH_QUEUE,
    )
