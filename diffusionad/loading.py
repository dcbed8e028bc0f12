"""A saved pipeline, from a folder or from the Hub, part by part: only JSON and safetensors are read, no code
is run.

diffusers' own loader takes a component of ours from a local folder but refuses it from the Hub.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.configuration_utils import FrozenDict
from huggingface_hub import snapshot_download

from diffusionad.official_unet import OfficialUNet
from diffusionad.segmenter import AnomalySegmenter

# What a repository may name, by component, as [library, class]: nothing else is ever imported.
COMPONENTS = {
    "unet": (UNet2DModel, OfficialUNet),
    "scheduler": (DDPMScheduler,),
    "segmenter": (AnomalySegmenter,),
}


def entry_of(component_class: type) -> list[str]:
    """How model_index.json names a class, such as ["diffusers", "UNet2DModel"]."""
    return [component_class.__module__.partition(".")[0], component_class.__name__]


def find_folder(
    name_or_path: str | os.PathLike,
    variant: str | None,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike | None,
    local_files_only: bool,
) -> Path:
    """The folder itself, or the local snapshot of a repository on the Hub with the files that are needed."""
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or str(name_or_path).startswith(".") or str(name_or_path).count("/") != 1:
        raise FileNotFoundError(
            f"`{name_or_path}` is neither a folder nor the id of a repository (org/name)."
        )
    return Path(
        snapshot_download(
            str(name_or_path),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=["model_index.json", "*/*config.json", f"*/{_weights_name(variant)}"],
        )
    )


def _weights_name(variant: str | None) -> str:
    return f"diffusion_pytorch_model{f'.{variant}' if variant else ''}.safetensors"


def read_index(folder: Path, class_name: str) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; `{folder}` is not a saved {class_name}.")
    index = _read_json(path)
    if index.get("_class_name") != class_name:
        found = index.get("_class_name")
        raise ValueError(f"`{path}` describes a {found!r}, not a {class_name}; give a DiffusionAD model.")
    return index


def load_component(
    folder: Path, name: str, entry: list[str] | None, dtype: torch.dtype, variant: str | None
) -> torch.nn.Module | DDPMScheduler:
    component_class = next((c for c in COMPONENTS[name] if entry_of(c) == entry), None)
    if component_class is None:
        allowed = " or ".join(str(entry_of(c)) for c in COMPONENTS[name])
        raise ValueError(f"`{folder}/model_index.json` names {entry} as `{name}`; only {allowed} is allowed.")
    if component_class is DDPMScheduler:
        config = folder / name / "scheduler_config.json"
        _read_json(config)
        try:
            return DDPMScheduler.from_pretrained(folder / name)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"`{config}` cannot be used ({error}); copy the model again.") from error
    weights = folder / name / _weights_name(variant)
    _read_json(folder / name / "config.json")
    _require_file(weights)
    try:
        model, report = component_class.from_pretrained(
            folder / name,
            torch_dtype=dtype,
            variant=variant,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"`{weights}` cannot be loaded ({error}); copy the model again.") from error
    if report["missing_keys"]:
        raise ValueError(
            f"`{weights}` lacks {len(report['missing_keys'])} weights, such as {report['missing_keys'][0]}."
        )
    # Where it was loaded from would be saved with it, and published.
    model._internal_dict = FrozenDict({k: v for k, v in model.config.items() if k != "_name_or_path"})
    return model


def _read_json(path: Path) -> dict[str, Any]:
    _require_file(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is not valid JSON ({error}); copy the model again.") from error
    if not isinstance(values, dict):
        raise ValueError(f"`{path}` holds a {type(values).__name__}, not settings; copy the model again.")
    return values


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; copy the model again, with all its files.")
