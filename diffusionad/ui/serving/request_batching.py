"""One call of a model at a time; requests that wait meanwhile share the next one, where that pays."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffusionad.inspection.inspector import MAX_BATCH_PIXELS
from diffusionad.pipeline import DiffusionADOutput

# What the output has one of for each picture.
PER_PICTURE = (
    "anomaly_map",
    "score",
    "is_anomalous",
    "p_value",
    "mask",
    "reconstruction",
    "regions",
    "known_marks",
)

Run = Callable[[list[np.ndarray], int, dict[str, Any]], DiffusionADOutput]


@dataclass(eq=False)  # each is itself, however alike
class Request:
    picture: np.ndarray
    seed: int
    settings: dict[str, Any]
    output: DiffusionADOutput | None = None

    def is_like(self, other: "Request") -> bool:
        """Whether one call can serve both."""
        if self.seed != other.seed or self.settings.keys() != other.settings.keys():
            return False
        return all(np.array_equal(value, other.settings[name]) for name, value in self.settings.items())


class Turns:
    """The requests of one model.

    Args:
        run: (pictures, seed, settings) -> their output.
        max_batch: pictures a call. Above 1 only where it pays: not on a CPU, see `docs/design.md`.
    """

    def __init__(self, run: Run, max_batch: int):
        self._run = run
        self._max_batch = max_batch
        self._turn = threading.Lock()
        self._waiting: list[Request] = []

    def __call__(self, picture: np.ndarray, seed: int, settings: dict[str, Any]) -> DiffusionADOutput:
        """The output for one picture, [H,W,3] in [0, 1]; waits until it is there."""
        request = Request(picture, seed, settings)
        self._waiting.append(request)
        with self._turn:
            if request.output is None:
                self._serve(request)
        return request.output

    def alone(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Another use of the model, when it is its turn."""
        with self._turn:
            return function(*arguments)

    def _serve(self, first: Request) -> None:
        self._waiting.remove(first)
        batch, pixels = [first], first.picture[..., 0].size
        for other in list(self._waiting):
            size = other.picture[..., 0].size
            fits = len(batch) < self._max_batch and pixels + size <= MAX_BATCH_PIXELS
            if fits and other.is_like(first):
                batch.append(other)
                pixels += size
        try:
            output = self._run([request.picture for request in batch], first.seed, first.settings)
        except (RuntimeError, MemoryError):
            if len(batch) == 1:
                raise
            batch = [first]  # too much for the memory at once, perhaps; the others have their own turn
            output = self._run([first.picture], first.seed, first.settings)
        for i, request in enumerate(batch):
            request.output = _only(output, i)
        for request in batch[1:]:
            self._waiting.remove(request)


def _only(output: DiffusionADOutput, i: int) -> DiffusionADOutput:
    """The output of one of several pictures, with its share of the time."""
    values = {name: getattr(output, name) for name in PER_PICTURE}
    parts = {name: value[i : i + 1] for name, value in values.items() if value is not None}
    share = {stage: seconds / len(output.score) for stage, seconds in output.timings.items()}
    return replace(output, **parts, timings=share)
