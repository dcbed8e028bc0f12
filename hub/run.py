"""A run folder that may be published: a pipeline, and figures that were measured with it."""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import tomlkit

from diffusionad.files import check_finite
from diffusionad.loading.components import COMPONENTS
from diffusionad.loading.fingerprint import pipeline_sha256
from diffusionad.metric_labels import WEAK_AUROC

EVALUATE = "diffusionad evaluate --model {0}/pipeline --data DATA --output {0}"


@dataclass(frozen=True)
class FinishedRun:
    """A run as it may be published.

    Attributes:
        folder: the run folder.
        metrics: of metrics.json; every number is finite.
        config: the training settings, by section; empty for an imported checkpoint.
        settings: of the pipeline: model_index.json.
    """

    folder: Path
    metrics: dict[str, Any]
    config: dict[str, Any]
    settings: dict[str, Any]

    @property
    def pipeline(self) -> Path:
        """Folder of the saved pipeline."""
        return self.folder / "pipeline"

    @property
    def category(self) -> str:
        """Category of the training pictures."""
        return str(self.metrics["category"])

    @property
    def components(self) -> list[str]:
        """Names of the components that the pipeline has."""
        present = {name: self.settings.get(name) for name in COMPONENTS}
        return [name for name, entry in present.items() if entry and entry[0]]  # [null, null] is absent


def read_run(folder: Path, takes_weak: bool = False) -> FinishedRun:
    """Read a run and refuse what must not be published.

    Args:
        folder: the run folder.
        takes_weak: also a model that hardly tells defective parts from good ones; its card says so.

    Raises:
        FileNotFoundError: a part of the run is missing.
        ValueError: figures that are absent, not finite, or of other weights; a weak model without consent.
    """
    index, figures, config = (
        folder / name for name in ("pipeline/model_index.json", "metrics.json", "config.toml")
    )
    again = EVALUATE.format(folder)
    if not index.is_file():
        raise FileNotFoundError(f"`{index}` is missing; give the folder of a run.")
    if not figures.is_file():
        raise FileNotFoundError(f"`{figures}` is missing; measure it first: {again}.")
    metrics = json.loads(figures.read_text(encoding="utf-8"))
    if "image_auroc" not in metrics and metrics.get("n_defective") != 0:
        reason = metrics.get("absent", {}).get("image_auroc", "it was not measured")
        raise ValueError(
            f"`{figures}` has no image AUROC ({reason}), and a model without figures is not "
            f"published; measure it on good and defective pictures: {again}."
        )
    found = pipeline_sha256(folder / "pipeline")
    if metrics.get("pipeline_sha256") != found:
        raise ValueError(
            f"`{figures}` was measured with other weights or settings than those in "
            f"`{folder / 'pipeline'}` (SHA-256 {str(metrics.get('pipeline_sha256'))[:12]}, not "
            f"{found[:12]}); measure again: {again}."
        )
    check_finite(metrics, "metrics.json")
    if is_weak(metrics) and not takes_weak:
        raise ValueError(
            f"The image AUROC is {metrics['image_auroc']['value']:.2f}, where 0.5 is chance: train longer, "
            "or publish it as it is with --yes-publish-weak; its card will say so."
        )
    return FinishedRun(
        folder,
        without_folders(metrics),
        tomllib.loads(config.read_text(encoding="utf-8")) if config.is_file() else {},
        json.loads(index.read_text(encoding="utf-8")),
    )


def is_weak(metrics: dict[str, Any]) -> bool:
    """Whether a model was measured to tell defective parts from good ones hardly better than chance."""
    return "image_auroc" in metrics and float(metrics["image_auroc"]["value"]) < WEAK_AUROC


def warning_of(metrics: dict[str, Any]) -> str:
    """Return what a reader must know before the figures; empty where there is nothing."""
    text = str(metrics.get("warning", ""))
    if not is_weak(metrics):
        return text
    auroc = metrics["image_auroc"]["value"]
    return f"This model is weak: its image AUROC is {auroc:.2f}, where 0.5 is chance. {text}".strip()


def without_folders(value: Any) -> Any:
    """Return `value` with the names of files in place of absolute paths, which are nobody's business."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    return _name_only(value) if isinstance(value, str) else value


def config_without_folders(folder: Path) -> str:
    """Return the text of config.toml, likewise."""
    config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    return tomlkit.dumps(without_folders(config))


def _name_only(text: str) -> str:
    if os.path.isabs(text) or re.match(r"~|[A-Za-z]:[\\/]", text):
        return PurePath(text.replace("\\", "/")).name
    # In a command: whatever begins with a slash at the beginning of an argument or of a value.
    return re.sub(r"(?<![^\s=])(?:/|~/)\S*", lambda m: PurePath(m[0]).name, text)
