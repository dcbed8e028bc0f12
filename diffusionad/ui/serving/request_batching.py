"""Serialize the calls of a model; requests that wait meanwhile share the next call, where that pays."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffusionad.pipeline import DiffusionADOutput
from diffusionad.streaming import MAX_BATCH_PIXELS

# Fields of the output with one entry a picture.
PER_PICTURE = (
    "anomaly_map",
    "score",
    "is_anomalous",
    "p_value",
    "mask",
    "reconstruction",
    "regions",
    "known_marks",
    "verdict",
    "picture",
    "appearance",
    "is_known",
    "familiarity_p_value",
)

RunBatch = Callable[[list[np.ndarray], int, dict[str, Any]], DiffusionADOutput]


@dataclass(eq=False)  # compared by identity: equal requests are still two
class Request:
    """One picture to inspect, and its output once it is there."""

    picture: np.ndarray
    seed: int
    settings: dict[str, Any]
    output: DiffusionADOutput | None = None

    def can_share_call(self, other: "Request") -> bool:
        """Return whether one call can serve both."""
        if self.seed != other.seed or self.settings.keys() != other.settings.keys():
            return False
        return all(np.array_equal(value, other.settings[name]) for name, value in self.settings.items())


class RequestBatcher:
    """Queue of the requests of one model.

    Args:
        run: (pictures, seed, settings) -> their output.
        max_batch: pictures a call. Above 1 only where it pays: not on a CPU, see `docs/design.md`.
    """

    def __init__(self, run: RunBatch, max_batch: int):
        self._run = run
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiting: list[Request] = []

    def __call__(self, picture: np.ndarray, seed: int, settings: dict[str, Any]) -> DiffusionADOutput:
        """Return the output for one picture, [H,W,3] in [0, 1]; block until it is there."""
        request = Request(picture, seed, settings)
        self._waiting.append(request)
        with self._lock:
            if request.output is None:
                self._serve(request)
        assert request.output is not None
        return request.output

    def exclusively(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call another function that uses the model, while no request runs."""
        with self._lock:
            return function(*arguments)

    def _serve(self, first: Request) -> None:
        self._waiting.remove(first)
        batch, pixels = [first], first.picture[..., 0].size
        for other in list(self._waiting):
            size = other.picture[..., 0].size
            fits = len(batch) < self._max_batch and pixels + size <= MAX_BATCH_PIXELS
            if fits and other.can_share_call(first):
                batch.append(other)
                pixels += size
        try:
            output = self._run([request.picture for request in batch], first.seed, first.settings)
        except (RuntimeError, MemoryError):
            if len(batch) == 1:
                raise
            batch = [first]  # the batch may have been too large for the memory; the others run on their own
            output = self._run([first.picture], first.seed, first.settings)
        for i, request in enumerate(batch):
            request.output = _output_of(output, i)
        for request in batch[1:]:
            self._waiting.remove(request)


def _output_of(output: DiffusionADOutput, i: int) -> DiffusionADOutput:
    """Return the output of one picture of a batch, with its share of the time."""
    values = {name: getattr(output, name) for name in PER_PICTURE}
    parts = {name: value[i : i + 1] for name, value in values.items() if value is not None}
    share = {stage: seconds / len(output.score) for stage, seconds in output.timings.items()}
    return replace(output, **parts, timings=share)
