"""Run the networks in this process, or in one that a ZeroGPU Space lends for some seconds."""

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from PIL import Image

from diffusionad.pipeline import DiffusionADOutput, DiffusionADPipeline
from diffusionad.ui.serving.explain import explain


def _no_gpu(duration: Any) -> Callable[[Any], Any]:
    """Return a decorator that does nothing."""
    return lambda function: function


try:
    from spaces import GPU  # installed on Spaces only; does nothing on hardware other than ZeroGPU
except ImportError:
    GPU = _no_gpu

START_SECONDS = 10  # of a lent process: weights to the GPU, first kernels
CALL_SECONDS = 0.1  # upper bound of one UNet call for one picture or tile on a GPU
MAX_SECONDS = 120  # that a Space lends at once

_loaded: WeakValueDictionary[str, DiffusionADPipeline] = WeakValueDictionary()


def put_on_device(folder: str, pipeline: DiffusionADPipeline) -> DiffusionADPipeline:
    """Move a pipeline to the best device there is, and register it for `run_pipeline`."""
    pipeline = pipeline.to(_best_device())
    _loaded[folder] = pipeline
    return pipeline


def gpu_seconds(folder: str, pictures: list[np.ndarray], seed: int, settings: dict[str, Any]) -> int:
    """Return how many seconds of a GPU to book; booked seconds that are not used cost nothing."""
    pipeline = _loaded.get(folder)
    own = pipeline.config if pipeline else {"num_inference_steps": 1, "num_noise_samples": 1}
    tiles = sum(pipeline.count_tiles(p.shape[:2]) for p in pictures) if pipeline else len(pictures)
    steps, draws = (settings.get(name, own[name]) for name in ("num_inference_steps", "num_noise_samples"))
    return min(round(START_SECONDS + CALL_SECONDS * steps * draws * tiles), MAX_SECONDS)


@GPU(duration=gpu_seconds)
def run_pipeline(
    folder: str, pictures: list[np.ndarray], seed: int, settings: dict[str, Any]
) -> DiffusionADOutput:
    """Inspect pictures with a loaded model.

    On ZeroGPU this runs in a fork of the process. Arguments and result are pickled, so the pipeline is named
    by its folder; a model that was loaded after the fork is loaded once more.
    """
    pipeline = _pipeline(folder)
    output = pipeline(pictures, generator=_generator(pipeline, seed), **settings)
    assert isinstance(output, DiffusionADOutput)  # `return_dict` is left at True
    return output


@GPU(duration=START_SECONDS)
def run_explanation(
    folder: str, picture: np.ndarray, seed: int, settings: dict[str, Any], peak: tuple[float, float]
) -> list[tuple[Image.Image, str]]:
    """Call `explain.explain` with a loaded model."""
    pipeline = _pipeline(folder)
    return explain(pipeline, picture, _generator(pipeline, seed), settings, peak)


def _pipeline(folder: str) -> DiffusionADPipeline:
    pipeline = _loaded.get(folder)
    return pipeline or put_on_device(folder, DiffusionADPipeline.from_pretrained(folder))


def _generator(pipeline: DiffusionADPipeline, seed: int) -> torch.Generator | None:
    return None if seed == pipeline.config.seed else torch.Generator().manual_seed(seed)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
