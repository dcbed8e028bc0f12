"""Where the networks run: in this process, or in one that a ZeroGPU Space lends for some seconds."""

from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from PIL import Image

from diffusionad.pipeline import DiffusionADOutput, DiffusionADPipeline
from diffusionad.ui.serving.explain import explain

try:
    from spaces import GPU  # only Spaces have it; a no-op on all hardware but ZeroGPU
except ImportError:

    def GPU(duration):  # noqa: N802
        return lambda function: function


START_SECONDS = 10  # of a lent process: weights to the GPU, first kernels
CALL_SECONDS = 0.1  # generous, of one UNet call for one picture or tile on a GPU
MOST_SECONDS = 120  # that a Space lends at once

_loaded: WeakValueDictionary[str, DiffusionADPipeline] = WeakValueDictionary()


def put_on_device(folder: str, pipeline: DiffusionADPipeline) -> DiffusionADPipeline:
    """The pipeline on the best device there is, ready for `run`."""
    pipeline = pipeline.to(_best_device())
    _loaded[folder] = pipeline
    return pipeline


def seconds_to_book(folder: str, pictures: list[np.ndarray], seed: int, settings: dict[str, Any]) -> int:
    """How long a ZeroGPU Space has to lend its GPU, at most; what is booked and not used costs nothing."""
    pipeline = _loaded.get(folder)
    own = pipeline.config if pipeline else {"num_inference_steps": 1, "num_noise_samples": 1}
    tiles = sum(pipeline.count_tiles(p.shape[:2]) for p in pictures) if pipeline else len(pictures)
    steps, draws = (settings.get(name, own[name]) for name in ("num_inference_steps", "num_noise_samples"))
    return min(round(START_SECONDS + CALL_SECONDS * steps * draws * tiles), MOST_SECONDS)


@GPU(duration=seconds_to_book)
def run(folder: str, pictures: list[np.ndarray], seed: int, settings: dict[str, Any]) -> DiffusionADOutput:
    """Inspect pictures with a model that is loaded.

    On ZeroGPU this runs in a fork of the process: arguments and result are pickled, so the pipeline goes by
    its folder, and a model that was loaded after the fork is loaded once more.
    """
    pipeline = _pipeline(folder)
    return pipeline(pictures, generator=_generator(pipeline, seed), **settings)


@GPU(duration=START_SECONDS)
def run_explained(
    folder: str, picture: np.ndarray, seed: int, settings: dict[str, Any], peak: tuple[float, float]
) -> list[tuple[Image.Image, str]]:
    """`explain.explain` with a model that is loaded."""
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
