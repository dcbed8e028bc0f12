"""An exported model: the same call and output as the pipeline's, without torch and diffusers.

A folder holds `exported.json` (settings, threshold, calibration, what was exported how), the graphs that it
names, and `parity.json`. Whatever turns a map into a verdict lies outside of the graphs, so that a threshold
can be changed without another export.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffusionad.deploy.about import ABOUT, DISTANCES, NETWORKS, check, read_about
from diffusionad.deploy.runtimes import load_graph
from diffusionad.images.image_io import ImageSource
from diffusionad.images.preparation import Preparation, PreparedPicture, collect, tiles_of, to_rgb_image
from diffusionad.picture_result import ByPicture, columns_of
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.fusion import join, maps_of, smooth_distances, view_size
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.postprocessor import Finding, Postprocessor
from diffusionad.postprocessing.regions import Region
from diffusionad.postprocessing.roi import encode_roi, read_roi
from diffusionad.postprocessing.verdict import Verdict
from diffusionad.settings import SCORE_SETTINGS
from diffusionad.streaming import Streaming

OUTPUT_TYPES = ("pil", "np")


@dataclass(repr=False)
class ExportedOutput(ByPicture):
    """The fields of `DiffusionADOutput`, which says what they hold; a reconstruction is "pil" or "np"."""

    anomaly_map: list[np.ndarray]
    score: np.ndarray
    is_anomalous: np.ndarray
    p_value: np.ndarray | None
    mask: list[np.ndarray]
    reconstruction: list[Image.Image] | list[np.ndarray]
    regions: list[list[Region]]
    known_marks: list[list[KnownMark]]
    threshold: float
    pixel_threshold: float
    timings: dict[str, float]
    picture: list[Image.Image]
    verdict: list[Verdict]
    appearance: np.ndarray
    is_known: np.ndarray | None
    familiarity_p_value: np.ndarray | None


class Device(str):
    """The name of a device; `type` is what torch's devices have."""

    @property
    def type(self) -> str:
        """Return the kind of the device."""
        return str(self)


class Settings(dict[str, Any]):
    """Settings by name, as keys and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"there is no setting `{name}`") from error


class ExportedPipeline(Streaming):
    """An exported model, ready to inspect pictures.

    Args:
        folder: of the export.
        threads: number of threads; None is as many as cores.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, settings out of range, or the runtime is not installed.
    """

    device = Device("cpu")
    config_name = ABOUT

    def __init__(self, folder: str | os.PathLike, threads: int | None = None):
        self.folder = Path(folder)
        self.about = read_about(self.folder)
        self.config = Settings(self.about["settings"])
        features = self.about["features"]
        self.features = None if features is None else Settings(features)
        kind, precision = self.about["format"], self.about["precision"]
        graphs = {Path(name).stem: name for name in self.about["graphs"] if not name.endswith(".bin")}
        self.networks = load_graph(self.folder / graphs[NETWORKS], kind, precision, threads)
        if self.features is not None:
            # Distances are differences of large squares: they need fp32.
            self.patch_distances = load_graph(self.folder / graphs[DISTANCES], kind, "fp32", threads)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, threads: int | None = None) -> "ExportedPipeline":
        """Load an export; as the constructor, by the name that the pipeline has for it."""
        return cls(folder, threads)

    def __call__(
        self,
        image: ImageSource | Sequence[ImageSource],
        *,
        threshold: float | None = None,
        roi: ImageSource | None = None,
        min_region_area: int | None = None,
        ignore_border: int | None = None,
        batch_size: int = 8,
        output_type: str = "pil",
    ) -> ExportedOutput:
        """Inspect pictures, as the pipeline's call does.

        Args:
            image: one or many of: path; PIL image; NumPy [H,W], [H,W,C] or [N,H,W,C].
            threshold: in [0, 1], for scores and map pixels.
            roi: where to look, for all pictures: non-zero pixels of a mask of any size.
            min_region_area: pixels of the inspected picture; smaller regions are no anomaly.
            ignore_border: pixels at the model's size.
            batch_size: tiles of a picture that the networks see at a time, 16 at most.
            output_type: form of the reconstructions, "pil" or "np".

        Raises:
            ValueError: an argument out of range or a picture that cannot be used.
            FileNotFoundError: no such picture.
        """
        started = time.perf_counter()
        many = isinstance(image, list | tuple) or (isinstance(image, np.ndarray) and image.ndim == 4)
        sources: list[Any] = list(image) if many else [image]  # type: ignore[arg-type]
        given = {
            "threshold": threshold,
            "roi": None if roi is None else encode_roi(read_roi(roi)),
            "min_region_area": min_region_area,
            "ignore_border": ignore_border,
        }
        settings = {**self.config, **{name: value for name, value in given.items() if value is not None}}
        check(settings)
        if not sources or output_type not in OUTPUT_TYPES or not 1 <= batch_size <= 16:
            raise ValueError(
                "Give at least one picture, a `batch_size` in 1..16 and an `output_type` of pil or np."
            )
        postprocess = Postprocessor(settings, self._calibration(settings))
        preparation = Preparation.from_config(self.config)
        view = None if self.features is None else partial(view_size, self.features.shorter_side)
        results: list[tuple[Image.Image, Finding, Any]] = []
        for i, source in enumerate(sources):
            picture = preparation.prepare(source, i, view)
            for tiles in tiles_of([picture], batch_size):
                collect(tiles, *self._look(np.stack([picture.tiled.tile(k) for picture, k in tiles])))
            model_map = postprocess.look_inside(self._joined(picture))
            drawn: Any = picture.tiled.reconstruction
            drawn = to_rgb_image(drawn) if output_type == "pil" else drawn
            results.append((picture.picture, postprocess(model_map, picture.size, picture.tiled), drawn))
        pictures, findings, reconstructions = (list(column) for column in zip(*results, strict=True))
        columns = columns_of(pictures, findings, [[] for _ in findings], postprocess)
        timings = {"total": time.perf_counter() - started}
        return ExportedOutput(**columns, reconstruction=reconstructions, timings=timings)

    def settings(self) -> dict[str, Any]:
        """Return the saved settings by name."""
        return dict(self.config)

    def to_json_file(self, path: str | os.PathLike) -> None:
        """Write exported.json with the settings as they are now, as the pipeline writes its own file."""
        about = {name: value for name, value in self.about.items() if name != "runtime"}
        about |= {"settings": self.settings()}
        Path(path).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def configure(self, **settings: Any) -> "ExportedPipeline":
        """Change settings that lie outside of the graphs; `calibration` sets the threshold, too.

        Raises:
            ValueError: a setting that the graphs hold, or a value out of range; nothing is changed then.
        """
        outside = (
            "threshold",
            "calibration",
            "roi",
            "min_region_area",
            "ignore_border",
            "category",
            "contrast",
        )
        for name in settings:
            if name not in outside:
                raise ValueError(
                    f"`{name}` is part of the exported graph; set it in the pipeline and export it again."
                )
        changed = dict(settings)
        if isinstance(calibration := changed.get("calibration"), Calibration):
            changed |= {"calibration": calibration.to_dict()}
            changed.setdefault("threshold", calibration.threshold)
        if changed.get("roi") is not None:
            changed["roi"] = encode_roi(read_roi(changed["roi"]))
        if {"roi", "ignore_border", "contrast"} & changed.keys() and "calibration" not in changed:
            changed["calibration"] = None
        check({**self.config, **changed})
        self.config.update(changed)
        return self

    def region_of_interest(self, size: tuple[int, int]) -> np.ndarray:
        """Return where the map counts, bool [H',W'], for a picture of `size` (H, W)."""
        model_size = Preparation.from_config(self.config).model_size(size)
        return Postprocessor(self.config, None).inside(model_size)

    def set_progress_bar_config(self, **_: Any) -> None:
        """Do nothing: there is no progress bar."""

    def to_input(self, tiles: np.ndarray) -> np.ndarray:
        """Return what the networks' graph takes, float32 [M,3,S,S], of tiles [M,S,S,3] in [0, 1]."""
        low, high = (np.float32(value) for value in self.config.input_range)
        return low + (high - low) * np.ascontiguousarray(tiles.transpose(0, 3, 1, 2))

    def _look(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return maps [M,S,S] and reconstructions [M,S,S,3] of tiles [M,S,S,3], all in [0, 1]."""
        low, high = (np.float32(value) for value in self.config.input_range)
        anomaly_map, x_0_hat = self.networks(self.to_input(tiles))
        reconstruction = ((x_0_hat - low) / (high - low)).clip(0, 1).transpose(0, 2, 3, 1)
        return anomaly_map[:, 0].clip(0, 1), reconstruction

    def _joined(self, picture: PreparedPicture) -> np.ndarray:
        if self.features is None:
            return picture.tiled.anomaly_map
        assert picture.view is not None
        view = np.ascontiguousarray(picture.view.transpose(2, 0, 1)[None])
        [coarse] = self.patch_distances(view)
        picture.tiled.distance = smooth_distances(coarse, picture.tiled.picture.shape[:2])
        return join(maps_of(picture.tiled), self.features)

    def _calibration(self, settings: dict[str, Any]) -> Calibration | None:
        """Return the stored calibration, if it holds for these settings."""
        alike = all(settings[name] == self.config[name] for name in SCORE_SETTINGS)
        stored = self.config.calibration
        return Calibration.from_dict(stored) if stored is not None and alike else None
