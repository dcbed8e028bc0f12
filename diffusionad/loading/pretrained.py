"""Load a saved pipeline part by part: only JSON and safetensors are read, no code is run.

diffusers' own loader takes a component of ours from a local folder but refuses it from the Hub.
"""

import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.configuration_utils import FrozenDict
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

from diffusionad.loading.bundled import demo_model, demo_models
from diffusionad.loading.hub_errors import hub_errors
from diffusionad.models.mark_memory import MarkMemory
from diffusionad.models.official_unet import OfficialUNet
from diffusionad.models.segmenter import AnomalySegmenter

# What a repository may name, by component, as [library, class]: nothing else is ever imported.
COMPONENTS = {
    "unet": (UNet2DModel, OfficialUNet),
    "scheduler": (DDPMScheduler,),
    "segmenter": (AnomalySegmenter,),
    "mark_memory": (MarkMemory,),
}

# A saved pipeline may lack these; model_index.json then has no entry, or [null, null].
OPTIONAL = ("mark_memory",)

# Arguments of diffusers' loader that this one declines, and why.
DECLINED = {
    "custom_pipeline": "no code of a repository is run",
    "device_map": "load the pipeline, then call `.to(device)`",
    "force_download": "delete the cached copy, or name a `cache_dir`",
    "low_cpu_mem_usage": "the networks are small",
    "max_memory": "load the pipeline, then call `.to(device)`",
    "offload_folder": "the networks are small",
    "quantization_config": "only plain weights are loaded",
    "trust_remote_code": "no code of a repository is run, so there is nothing to trust",
    "use_safetensors": "nothing but safetensors is ever read",
}

logger = logging.getLogger(__name__)

# Stem of the code beside a published model_index.json, whose `_class_name` is [STANDALONE_CODE, class]: there
# diffusers finds the class of the pipeline. This loader never runs it.
STANDALONE_CODE = "pipeline"

CONFIGS = ("model_index.json", "scheduler/scheduler_config.json", "segmenter/config.json", "unet/config.json")


def load_parts(
    pipeline_class: Any,
    name_or_path: str | os.PathLike,
    dtype: torch.dtype | dict[str, torch.dtype] | None,
    variant: str | None,
    settings: dict[str, Any],
    **where: Any,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Load what a pipeline is made of.

    Args:
        pipeline_class: the class that model_index.json must describe.
        name_or_path: folder, id on the Hub, or name of an embedded model.
        dtype: of all networks, or by component, as `dtypes_by_component` takes it.
        variant: of the weights' file names.
        settings: given to `from_pretrained`: settings to override, and components to use as they are.
        where: `revision`, `token`, `cache_dir` and `local_files_only` for the Hub.

    Returns:
        The components by name; the saved settings; the settings to override.

    Raises:
        FileNotFoundError: no such model, or a file of it is missing.
        PermissionError: the repository is gated.
        OSError: the Hub did not deliver.
        ValueError: another kind of model, damaged files, or an argument that is declined.
    """
    for name in settings.keys() & DECLINED.keys():
        raise ValueError(f"`{name}` is not taken: {DECLINED[name]}.")
    dtypes = dtypes_by_component(dtype)
    given = {name: settings[name] for name in COMPONENTS if name in settings}
    overrides = {name: value for name, value in settings.items() if name not in COMPONENTS}
    folder = find_folder(name_or_path, variant, **where)
    index = read_index(folder, pipeline_class.__name__)
    parts = {
        name: load_component(folder, name, index.get(name), dtypes[name], variant)
        for name in COMPONENTS
        if name not in given
    }
    similarity = index.pop("mark_similarity", 0.85)  # a setting of pipelines before 0.2
    if "mark_memory" in parts and parts["mark_memory"] is None:
        parts["mark_memory"] = _marks_of_segmenter(folder, index["image_size"], similarity, variant)
    saved = {k: v for k, v in index.items() if k not in COMPONENTS and not k.startswith("_")}
    unknown = sorted(set(saved) - set(pipeline_class._get_init_keys(pipeline_class)))
    if unknown:
        raise ValueError(
            f"`{folder}/model_index.json` has {unknown}, unknown to this version; upgrade diffusionad."
        )
    return parts | given, saved, overrides


def resolve_dtype(dtype: Any, torch_dtype: Any) -> Any:
    """Return `dtype`, or `torch_dtype` under its former name, which diffusers has deprecated.

    Raises:
        ValueError: both are given.
    """
    if torch_dtype is None:
        return dtype
    if dtype is not None:
        raise ValueError("`dtype` and `torch_dtype` are both given; give `dtype` alone.")
    warnings.warn("`torch_dtype` is deprecated; use `dtype`.", FutureWarning, stacklevel=3)
    return torch_dtype


def dtypes_by_component(dtype: torch.dtype | dict[str, torch.dtype] | None) -> dict[str, torch.dtype]:
    """Return the dtype of each component; None is float32, as is what a dictionary does not name.

    Raises:
        ValueError: not a torch dtype, or a component that does not exist.
    """
    by_name = dtype if isinstance(dtype, dict) else {"default": torch.float32 if dtype is None else dtype}
    for name, value in by_name.items():
        if name not in (*COMPONENTS, "default"):
            raise ValueError(f"`dtype` names {name!r}; use one of {', '.join(COMPONENTS)}, or default.")
        if not isinstance(value, torch.dtype):
            raise ValueError(f"`dtype` is {value!r}; give a torch dtype such as torch.float16.")
    default = by_name.get("default", torch.float32)
    return {name: by_name.get(name, default) for name in COMPONENTS}


def _marks_of_segmenter(
    folder: Path, image_size: int, similarity: float, variant: str | None
) -> MarkMemory | None:
    """Return the marks that a model from before 0.2 keeps in a buffer of its segmenter."""
    if not _read_json(folder / "segmenter/config.json").get("known_marks"):
        return None
    marks = load_file(folder / "segmenter" / _weights_name(variant))["marks"]
    memory = MarkMemory(image_size, len(marks), similarity)
    memory.marks.copy_(marks)
    logger.warning(
        "`%s` keeps its known marks in the segmenter, as models before 0.2 did; they work as before. Save it "
        "again with `save_pretrained` into another folder to keep them as a component of their own.",
        folder,
    )
    return memory


def entry_of(component_class: type) -> list[str]:
    """How model_index.json names a class, such as ["diffusers", "UNet2DModel"]."""
    return [component_class.__module__.partition(".")[0], component_class.__name__]


def find_folder(
    name_or_path: str | os.PathLike,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the folder of a model: itself, an embedded one, or a snapshot from the Hub of what is needed.

    Raises:
        FileNotFoundError: no such folder, repository, revision or file, or out of reach and not in the cache.
        PermissionError: the repository is gated.
        OSError: the download failed.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    if str(name_or_path) in demo_models():
        return Path(demo_model(str(name_or_path)))
    if folder.is_absolute() or str(name_or_path).startswith(".") or str(name_or_path).count("/") != 1:
        raise FileNotFoundError(
            f"`{name_or_path}` is neither a folder, nor the id of a repository (org/name), nor an embedded "
            f"model; those are {', '.join(demo_models())}."
        )
    repo = f"`{name_or_path}` (revision {revision})" if revision else f"`{name_or_path}`"
    weights = _weights_name(variant)
    needed = [*CONFIGS, f"unet/{weights}", f"segmenter/{weights}"]
    with hub_errors(repo):
        snapshot = Path(
            snapshot_download(
                str(name_or_path),
                revision=revision,
                token=token,
                cache_dir=None if cache_dir is None else Path(cache_dir),
                local_files_only=local_files_only,
                allow_patterns=[
                    *needed,
                    *(f"{n}/{file}" for n in OPTIONAL for file in ("config.json", weights)),
                ],
            )
        )
    for file in needed:
        if not (snapshot / file).is_file():
            if file == "model_index.json":
                advice = "it is not a DiffusionAD model"
            elif variant and file.endswith(weights):
                advice = "load it without `variant`"
            else:
                advice = "ask its owner for it, or load another `revision`"
            raise FileNotFoundError(f"{repo} has no file `{file}`; {advice}.")
    return snapshot


def _weights_name(variant: str | None) -> str:
    return f"diffusion_pytorch_model{f'.{variant}' if variant else ''}.safetensors"


def _remedy(path: Path) -> str:
    """What to do about a damaged file."""
    for folder in path.parents:
        if folder.name == "snapshots":  # of links into the cache of the Hub's client
            return f"delete `{folder.parent}` and load it again"
    return "copy the model again"


def read_index(folder: Path, class_name: str) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; `{folder}` is not a saved {class_name}.")
    index = _read_json(path)
    found = index.get("_class_name")
    if found not in (class_name, [STANDALONE_CODE, class_name]):
        raise ValueError(f"`{path}` describes a {found!r}, not a {class_name}; give a DiffusionAD model.")
    return index


def load_component(
    folder: Path, name: str, entry: list[str] | None, dtype: torch.dtype, variant: str | None
) -> torch.nn.Module | DDPMScheduler | None:
    if name in OPTIONAL and entry in (None, [None, None]):
        return None
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
            raise ValueError(f"`{config}` cannot be used ({error}); {_remedy(config)}.") from error
    weights = folder / name / _weights_name(variant)
    config = folder / name / "config.json"
    if "quantization_config" in _read_json(config):
        raise ValueError(f"`{config}` asks for quantized weights; only plain ones are loaded.")
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
        raise ValueError(f"`{weights}` cannot be loaded ({error}); {_remedy(weights)}.") from error
    if report["missing_keys"]:
        raise ValueError(
            f"`{weights}` lacks {len(report['missing_keys'])} weights, such as {report['missing_keys'][0]}."
        )
    logging.getLogger("diffusers.models.modeling_utils").addFilter(_is_about_something)
    # Where it was loaded from would be saved with it, and published.
    model._internal_dict = FrozenDict({k: v for k, v in model.config.items() if k != "_name_or_path"})
    return model


def _is_about_something(record: logging.LogRecord) -> bool:
    """Diffusers warns on every cast of modules that have to stay in float32, even where none has to."""
    return "should be kept in float32: []" not in record.getMessage()


def _read_json(path: Path) -> dict[str, Any]:
    _require_file(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is not valid JSON ({error}); {_remedy(path)}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"`{path}` holds a {type(values).__name__}, not settings; {_remedy(path)}.")
    return values


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; {_remedy(path)}, with all its files.")
