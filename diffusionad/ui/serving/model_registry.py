"""The models that users may choose from; each is loaded once and shared by all requests."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from PIL import Image

from diffusionad.images.image_io import IMAGE_SUFFIXES, is_hidden
from diffusionad.loading.bundled import demo_model, demo_models
from diffusionad.loading.hub_models import fetch_extras, find_models
from diffusionad.loading.model_files import is_inside
from diffusionad.loading.model_metrics import read_metrics
from diffusionad.loading.pretrained import find_folder, find_snapshot
from diffusionad.pipeline import DiffusionADOutput, DiffusionADPipeline
from diffusionad.ui.serving.allowed_hosts import SPACE_VARIABLE
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.request_batching import RequestBatcher
from diffusionad.ui.serving.zero_gpu import put_on_device, run_explanation, run_pipeline

logger = logging.getLogger(__name__)

MODELS_VARIABLE = "DIFFUSIONAD_MODELS"  # folders, Hub ids and organisations, separated by commas
MAX_MODELS_VARIABLE = "DIFFUSIONAD_MAX_MODELS"
DEFAULT_MAX_MODELS = 3

MAX_BATCH = 8  # requests that share a call on a GPU
SLOTS = MAX_BATCH if torch.cuda.is_available() else 4  # requests at once: each holds a picture of any size

MAX_DEFECTIVE, MAX_GOOD = 6, 2  # example pictures of a model

DEVICE_NAMES = {"cuda": "GPU", "mps": "Apple GPU", "cpu": "CPU"}


@dataclass(eq=False)
class Model:
    """A loaded model, shared by all requests.

    Attributes:
        name: as the user knows it.
        folder: it was loaded from.
        pipeline: on its device.
        batcher: queue of the requests to run it.
        call_seconds: of the latest call for each UNet evaluation, and for all else; None before the first.
    """

    name: str
    folder: Path
    pipeline: DiffusionADPipeline
    batcher: RequestBatcher
    call_seconds: tuple[float, float] | None = None

    @property
    def device(self) -> str:
        """Name of the device as the page shows it."""
        return DEVICE_NAMES[self.pipeline.device.type]

    def run(self, picture: np.ndarray, seed: int, settings: dict[str, Any]) -> DiffusionADOutput:
        """Inspect a picture, [H,W,3] in [0, 1]; block while others use the model."""
        output = self.batcher(picture, seed, settings)
        denoise, total = output.timings["denoise"], output.timings["total"]
        self.call_seconds = denoise / self._evaluations(settings), total - denoise
        return output

    def explain(
        self, picture: np.ndarray, seed: int, settings: dict[str, Any], peak: tuple[float, float]
    ) -> list[tuple[Image.Image, str]]:
        """Return the steps from a picture to its map with captions, of the tile around `peak`."""
        arguments = str(self.folder), picture, seed, settings, peak
        return self.batcher.exclusively(run_explanation, *arguments)

    def expected_seconds(self, **settings: int) -> float | None:
        """Predict the seconds for one picture from the latest call; None before the first."""
        if self.call_seconds is None:
            return None
        each, rest = self.call_seconds
        return each * self._evaluations(settings) + rest

    def _evaluations(self, settings: dict[str, Any]) -> int:
        """Count the pictures that the UNet sees: in one step both scales, else one a step; for each draw."""
        steps, draws = (
            settings.get(name, self.pipeline.config[name])
            for name in ("num_inference_steps", "num_noise_samples")
        )
        return draws * (2 if steps == 1 else steps)

    def examples(self) -> list[Path]:
        """Return the pictures in the model's folder `examples`, the defective ones first."""
        found = (p for p in self.folder.glob("examples/*") if p.suffix.lower() in IMAGE_SUFFIXES)
        # A link could show visitors any picture of the server.
        pictures = sorted(
            p for p in found if p.is_file() and is_inside(p, self.folder) and not is_hidden(Path(p.name))
        )
        good = [p for p in pictures if p.stem.startswith("good")]
        defective = [p for p in pictures if not p.stem.startswith("good")]
        return [*defective[:MAX_DEFECTIVE], *good[:MAX_GOOD]]

    def good_examples(self) -> list[Path]:
        """Return the examples without a defect."""
        return [path for path in self.examples() if path.stem.startswith("good")]

    def metrics(self) -> dict[str, Any]:
        """Return the figures of the model, checked; empty where there are none that can be read."""
        return read_metrics(self.folder)


@dataclass(eq=False)
class _Entry:
    """A model that was asked for.

    Attributes:
        name: as the user knows it.
        lock: held while the model is loaded.
        model: None before it is loaded.
    """

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: Model | None = None


class ModelRegistry:
    """Loaded models by name.

    Args:
        models: folders, Hub ids and organisations to offer beside the embedded models; None reads
            `DIFFUSIONAD_MODELS`.
        max_models: how many stay loaded, the least recently used one is dropped first; None reads
            `DIFFUSIONAD_MAX_MODELS`.
        load: (folder) -> pipeline.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        max_models: int | None = None,
        load: Callable[[Path], DiffusionADPipeline] = DiffusionADPipeline.from_pretrained,
    ):
        if models is None:
            models = [name.strip() for name in os.environ.get(MODELS_VARIABLE, "").split(",")]
        if max_models is None:
            max_models = int(os.environ.get(MAX_MODELS_VARIABLE, DEFAULT_MAX_MODELS))
        self.max_models = max(1, max_models)
        self._load = load
        sources = [source for name in models if name for source in _find_sources(name)]
        self._sources = {name: _without_links(source) for name, source in _sources_by_name(sources).items()}
        paths = [*sources, *self._sources.values()]
        self._by_path = {os.path.abspath(path): _without_links(path) for path in paths if os.path.isdir(path)}
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the most recently used one last
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of the models on offer."""
        return list(self._sources)

    def get(self, name: str | None) -> Model:
        """Return the model of this name or Hub id, loaded if need be; for None the first on offer.

        Args:
            name: on the list, the folder of a model on the list, or the id of any model on the Hub.

        Raises:
            gr.Error: there is no such model, or it cannot be loaded.
        """
        name = (name or "").strip() or next(iter(self._sources), "")
        with user_errors():
            if not name:
                raise ValueError("Choose a model first: type the id of one on the Hub.")
            source = self._source(name)
            if source is None:
                source = _hub_id(name)
            with self._lock:
                # Nobody sees by which path another user has named a model on offer.
                shown = next((n for n, offered in self._sources.items() if offered == source), name)
                entry = self._entries.setdefault(source, _Entry(shown))
                self._entries.move_to_end(source)
            with entry.lock:
                if entry.model is None:
                    entry.model = self._load_model(entry.name, source)
                    self._keep(source, entry)
                return entry.model

    def _source(self, name: str) -> str | None:
        """Return folder or Hub id of a model on offer, the same for all of its names; None for others.

        A path is compared as text: it reaches no disk, so that no answer tells what lies there.
        """
        return self._sources.get(name) or self._by_path.get(os.path.abspath(name))

    def _load_model(self, name: str, source: str) -> Model:
        started = time.perf_counter()
        try:
            folder = self._find(name, source)
            with user_errors(folder, name):
                pipeline = self._load(folder)
                pipeline.set_progress_bar_config(disable=True)
                pipeline = put_on_device(str(folder), pipeline)
        except Exception:
            with self._lock:
                self._entries.pop(source, None)
            raise
        is_cpu = torch.device(pipeline.device).type == "cpu"
        batcher = RequestBatcher(partial(run_pipeline, str(folder)), 1 if is_cpu else MAX_BATCH)
        seconds = time.perf_counter() - started
        logger.info("Loaded %s on %s in %.1f s", name, pipeline.device, seconds)
        return Model(name, folder, pipeline, batcher)

    def _keep(self, source: str, entry: _Entry) -> None:
        """Keep a loaded model, and drop the least recently used ones above the limit."""
        with self._lock:
            self._entries[source] = entry
            # Only after loading, so that names that cannot be loaded push nothing out.
            loaded = [s for s, e in self._entries.items() if e.model is not None]
            for least_recent in loaded[: max(0, len(loaded) - self.max_models)]:
                del self._entries[least_recent]

    def _find(self, name: str, source: str) -> Path:
        is_offered = source in self._sources.values()
        # On a public Space, user input does not reach its owner's private models.
        token = False if SPACE_VARIABLE in os.environ and not is_offered else None
        find = find_folder if is_offered else find_snapshot
        folder = find(source, token=token)
        fetch_extras(source, folder, token)
        return folder


def _find_sources(name: str) -> list[str]:
    """Return the folders and Hub ids behind a name on the list; none, and a warning, if the Hub has none."""
    try:
        return find_models(name)
    except OSError as error:
        logger.warning("Not offered: %s", error)
        return []


def _without_links(source: str) -> str:
    """Return the path of a folder without links, an id on the Hub as it is."""
    return os.path.realpath(source) if os.path.isdir(source) else source


def _hub_id(name: str) -> str:
    try:
        validate_repo_id(name)
        is_id = name.count("/") == 1
    except HFValidationError:
        is_id = False
    if not is_id:
        raise ValueError(
            f"`{name}` is neither on the list of models, nor the id of one on the Hub (org/name); a folder "
            "has to be listed when the app is started."
        )
    return name


def _sources_by_name(sources: list[str]) -> dict[str, str]:
    """Name each source: a folder by its last part where that is unique, a Hub id by itself."""
    embedded = {name: demo_model(name) for name in demo_models()}
    short = [Path(source).name if Path(source).is_dir() else source for source in sources]
    taken = [*embedded, *short]
    pairs = zip(short, sources, strict=True)
    return embedded | {name if taken.count(name) == 1 else source: source for name, source in pairs}
