"""Load a saved pipeline part by part: only JSON and safetensors are read, no code is run.

diffusers' own loader takes a component of ours from a local folder but refuses it from the Hub.
"""

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from diffusionad.loading.bundled import check_whole, demo_model, demo_models
from diffusionad.loading.components import COMPONENTS, OPTIONAL, load_component
from diffusionad.loading.hub_errors import hub_errors
from diffusionad.loading.model_files import read_json, remedy, require_file, weights_name
from diffusionad.models.mark_memory import MarkMemory

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
    check_whole(folder)
    index = read_index(folder, pipeline_class.__name__)
    parts = {
        name: load_component(folder, name, index.get(name), dtypes[name], variant)
        for name in COMPONENTS
        if name not in given
    }
    similarity = index.pop("mark_similarity", 0.85)  # a setting of pipelines before 0.2
    if "mark_memory" in parts and parts["mark_memory"] is None:
        parts["mark_memory"] = _marks_of_segmenter(folder, index, similarity, variant)
    saved = {k: v for k, v in index.items() if k not in COMPONENTS and not k.startswith("_")}
    unknown = sorted(set(saved) - set(pipeline_class._get_init_keys(pipeline_class)))
    if unknown:
        raise ValueError(
            f"`{folder}/model_index.json` has {str(unknown)[:500]}, unknown to this version; "
            "upgrade diffusionad."
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
    folder: Path, index: dict[str, Any], similarity: Any, variant: str | None
) -> MarkMemory | None:
    """Return the marks that a model from before 0.2 keeps in a buffer of its segmenter."""
    if not read_json(folder / "segmenter/config.json", folder).get("known_marks"):
        return None
    weights = folder / "segmenter" / weights_name(variant)
    require_file(weights, folder)
    try:
        marks = load_file(weights)["marks"]
        memory = MarkMemory(index.get("image_size", 256), len(marks), similarity)
        memory.marks.copy_(marks)
    except (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{weights}` holds no marks that can be used ({error}); {remedy(weights)}."
        ) from error
    logger.warning(
        "`%s` keeps its known marks in the segmenter, as models before 0.2 did; they work as before. Save it "
        "again with `save_pretrained` into another folder to keep them as a component of their own.",
        folder,
    )
    return memory


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
    return find_snapshot(str(name_or_path), variant, revision, token, cache_dir, local_files_only)


def find_snapshot(
    repo_id: str,
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return a snapshot from the Hub of what is needed, whatever lies in a folder of this name.

    Raises:
        FileNotFoundError: no such repository, revision or file, or out of reach and not in the cache.
        PermissionError: the repository is gated.
        OSError: the download failed.
    """
    repo = f"`{repo_id}` (revision {revision})" if revision else f"`{repo_id}`"
    weights = weights_name(variant)
    needed = [*CONFIGS, f"unet/{weights}", f"segmenter/{weights}"]
    with hub_errors(repo):
        snapshot = Path(
            snapshot_download(
                repo_id,
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


def read_index(folder: Path, class_name: str) -> dict[str, Any]:
    """Return the values of model_index.json, which must describe a pipeline of this class."""
    path = folder / "model_index.json"
    if not path.is_file() and not path.is_symlink():
        raise FileNotFoundError(f"`{path}` is missing; `{folder}` is not a saved {class_name}.")
    index = read_json(path, folder)
    found = index.get("_class_name")
    if found not in (class_name, [STANDALONE_CODE, class_name]):
        raise ValueError(
            f"`{path}` describes a {repr(found)[:200]}, not a {class_name}; give a DiffusionAD model."
        )
    return index
