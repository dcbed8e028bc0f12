"""One component of a saved pipeline: an allowed class, a config within bounds, and weights that fit it."""

import inspect
import logging
import math
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.configuration_utils import FrozenDict

from diffusionad.loading.model_files import read_json, remedy, require_file, weights_name
from diffusionad.models.feature_memory import FeatureMemory
from diffusionad.models.mark_memory import MarkMemory
from diffusionad.models.official_unet import OfficialUNet
from diffusionad.models.segmenter import AnomalySegmenter

# What a repository may name, by component, as [library, class]: nothing else is ever imported.
COMPONENTS = {
    "unet": (UNet2DModel, OfficialUNet),
    "scheduler": (DDPMScheduler,),
    "segmenter": (AnomalySegmenter,),
    "feature_memory": (FeatureMemory,),
    "mark_memory": (MarkMemory,),
}

# A saved pipeline may lack these; model_index.json then has no entry, or [null, null].
OPTIONAL = ("feature_memory", "mark_memory")

# Limits of a config, checked before anything is built of it. The largest published models stay far below.
MAX_NUMBER, MAX_TEXT, MAX_ENTRIES = 2**16, 1000, 200
MAX_LEVELS, MAX_LAYERS = 16, 64  # of a network
MAX_TIMESTEPS = 10_000

# What building or loading raises on values that no model has. Nothing of ours runs inside.
_UNUSABLE = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    NameError,
)


def entry_of(component_class: type) -> list[str]:
    """Return how model_index.json names a class, such as ["diffusers", "UNet2DModel"]."""
    return [component_class.__module__.partition(".")[0], component_class.__name__]


def load_component(
    folder: Path, name: str, entry: Any, dtype: torch.dtype, variant: str | None
) -> torch.nn.Module | DDPMScheduler | None:
    """Load one component; None for an optional one that the model lacks.

    Args:
        folder: of the model.
        name: of the component and its folder.
        entry: [library, class], as in model_index.json.
        dtype: of the weights.
        variant: of the weights' file name.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a class that is not allowed, a config out of bounds, damaged or other weights.
    """
    if name in OPTIONAL and entry in (None, [None, None]):
        return None
    component_class: Any = next((c for c in COMPONENTS[name] if entry_of(c) == entry), None)
    if component_class is None:
        allowed = " or ".join(str(entry_of(c)) for c in COMPONENTS[name])
        raise ValueError(
            f"`{folder}/model_index.json` names {str(entry)[:200]} as `{name}`; only {allowed} is allowed."
        )
    if component_class is DDPMScheduler:
        return _load_scheduler(folder, name)
    return _load_network(component_class, folder, name, dtype, variant)


def _load_scheduler(folder: Path, name: str) -> DDPMScheduler:
    path = folder / name / "scheduler_config.json"
    config = read_json(path, folder)
    _check_config(config, path, max_length=MAX_TIMESTEPS)
    _check_types(DDPMScheduler, config, path)
    timesteps = config.get("num_train_timesteps", 1000)
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or not 2 <= timesteps <= MAX_TIMESTEPS:
        raise ValueError(
            f"`{path}` has `num_train_timesteps` {timesteps!r}; give an integer in 2..{MAX_TIMESTEPS}."
        )
    try:
        scheduler = DDPMScheduler.from_pretrained(folder / name)
        betas, alpha_bar = scheduler.betas, scheduler.alphas_cumprod  # [T]
        are_usable = (betas >= 0) & (betas <= 1) & (alpha_bar > 0) & (alpha_bar <= 1)
        if betas.shape != (timesteps,) or not bool(are_usable.all()):
            raise ValueError("its betas give no alpha_bar between 0 and 1 for each timestep")
    except _UNUSABLE as error:
        raise ValueError(f"`{path}` cannot be used ({_reason(error)}); {remedy(path)}.") from error
    return scheduler


def _load_network(
    component_class: Any, folder: Path, name: str, dtype: torch.dtype, variant: str | None
) -> torch.nn.Module:
    weights = folder / name / weights_name(variant)
    path = folder / name / "config.json"
    config = read_json(path, folder)
    if "quantization_config" in config:
        raise ValueError(f"`{path}` asks for quantized weights; only plain ones are loaded.")
    _check_config(config, path, max_length=MAX_LEVELS)
    layers = config.get("layers_per_block", 1)
    if not isinstance(layers, int) or not 1 <= layers <= MAX_LAYERS:
        raise ValueError(f"`{path}` has `layers_per_block` {layers!r}; give an integer in 1..{MAX_LAYERS}.")
    _check_types(component_class, config, path)
    require_file(weights, folder)
    try:
        _check_count(component_class, config, weights)
        model, report = component_class.from_pretrained(
            folder / name,
            torch_dtype=dtype,
            variant=variant,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except _UNUSABLE as error:
        raise ValueError(f"`{weights}` cannot be loaded ({_reason(error)}); {remedy(weights)}.") from error
    if report["missing_keys"]:
        raise ValueError(
            f"`{weights}` lacks {len(report['missing_keys'])} weights, such as {report['missing_keys'][0]}."
        )
    logging.getLogger("diffusers.models.modeling_utils").addFilter(_is_about_something)
    # Where it was loaded from would be saved with it, and published.
    model._internal_dict = FrozenDict({k: v for k, v in model.config.items() if k != "_name_or_path"})
    return model


def _check_config(config: dict[str, Any], path: Path, max_length: int) -> None:
    """Raise a ValueError that names the first value that no component needs.

    Args:
        config: flat, as components have it.
        path: of the file.
        max_length: of a list.
    """
    if len(config) > MAX_ENTRIES:
        raise ValueError(f"`{path}` has {len(config)} entries; a config has at most {MAX_ENTRIES}.")
    for name, value in config.items():
        is_list = isinstance(value, list)
        if is_list and len(value) > max_length:
            raise ValueError(
                f"`{path}` has {len(value)} values in `{name[:80]}`; at most {max_length} are used."
            )
        for inner in value if is_list else [value]:
            if not _is_usable(inner):
                shown = repr(inner)
                shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
                raise ValueError(
                    f"`{path}` has {shown} in `{name[:80]}`; use a number within +-{MAX_NUMBER}, true, "
                    "false, null or a short text."
                )


def _is_usable(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    return value is None or (isinstance(value, int | float) and -MAX_NUMBER <= value <= MAX_NUMBER)


def _check_types(component_class: Any, config: dict[str, Any], path: Path) -> None:
    """Raise a ValueError that names the first value of another kind than the default of its argument."""
    for name, parameter in inspect.signature(component_class.__init__).parameters.items():
        default, value = parameter.default, config.get(name)
        if default in (None, inspect.Parameter.empty) or value is None:
            continue
        fits = _is_alike(value, default)
        if fits and isinstance(default, tuple | list):
            fits = all(_is_alike(inner, default[0]) for inner in value) if default else True
        if not fits:
            raise ValueError(f"`{path}` has {repr(value)[:80]} in `{name}`; give a value like {default!r}.")


def _is_alike(value: Any, default: Any) -> bool:
    if isinstance(default, tuple | list):
        return isinstance(value, list)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, str) if isinstance(default, str) else isinstance(value, int | float)


def _check_count(component_class: Any, config: dict[str, Any], weights: Path) -> None:
    """Raise a ValueError where the file cannot hold the weights of the config, before memory is taken."""
    known = component_class._get_init_keys(component_class)
    with torch.device("meta"):  # shapes without memory
        model = component_class(**{name: value for name, value in config.items() if name in known})
    count = sum(math.prod(tensor.shape) for tensor in model.state_dict().values())
    size = weights.stat().st_size
    if count > size:  # each takes a byte at least
        raise ValueError(f"config.json describes {count} weights, more than {size} bytes can hold")


def _reason(error: BaseException) -> str:
    """Return an error's text, shortened; for errors such as KeyError with their kind."""
    text = (
        f"{type(error).__name__}: {error}" if isinstance(error, LookupError | ArithmeticError) else str(error)
    )
    text = text or type(error).__name__
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _is_about_something(record: logging.LogRecord) -> bool:
    """Diffusers warns on every cast of modules that have to stay in float32, even where none has to."""
    return "should be kept in float32: []" not in record.getMessage()
