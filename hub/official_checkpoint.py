"""A checkpoint of the authors' released code, as a pipeline that computes the same.

Settings that their code keeps outside the networks become saved settings: pictures in [0, 1], stretched
without antialiasing (OpenCV's bilinear interpolation), the score from the 50 largest pixels of the map. One
step is left out: they round the resized picture to 8 bits, which moves a pixel by up to 0.75 grey levels.
"""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from diffusers import DDPMScheduler
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from diffusionad import AnomalySegmenter, DiffusionADPipeline, OfficialUNet

from .official_weights import load_weights, segmenter_config, segmenter_weights, unet_config, unet_weights

TOP_PIXELS = 50
WEIGHTS = ("unet_model_state_dict", "seg_model_state_dict")

Number = TypeVar("Number", int, float)


def _plain_dict(*_default_factory: type) -> dict:
    """Stands in for `defaultdict`, in which the authors keep the settings; torch fills plain ones only."""
    return {}


# All that the file may name besides tensors and plain values.
ALLOWED: list[Callable | tuple[Callable, str]] = [
    (_plain_dict, "collections.defaultdict"),
    (str, "builtins.str"),
]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint as tensors and plain values; no code in it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it names what is not allowed, is damaged, or lacks a part.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` does not exist or is no file; give a params-*.pt of their code.")
    try:
        with safe_globals(ALLOWED):
            foreign = sorted(get_unsafe_globals_in_checkpoint(path))
            if not foreign:
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"`{path}` is no checkpoint that can be read ({reason}); copy it again.") from error
    if foreign:
        raise ValueError(
            f"`{path}` names {', '.join(foreign)}, which was not loaded, since that could run code: "
            "a checkpoint of the authors holds tensors, numbers and text only."
        )
    for part in (*WEIGHTS, "args"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), dict):
            raise ValueError(f"`{path}` has no `{part}`; give a params-*.pt of the authors' training.")
    for part in WEIGHTS:
        for name, weight in checkpoint[part].items():
            if not isinstance(weight, torch.Tensor):
                raise ValueError(
                    f"`{path}` has a {type(weight).__name__} as {name!r} in `{part}`, no tensor."
                )
    return checkpoint


def to_pipeline(checkpoint: dict[str, Any], category: str) -> DiffusionADPipeline:
    """Return the authors' networks and settings as a pipeline in fp32, not calibrated.

    Args:
        checkpoint: as `read_checkpoint` gives it.
        category: what it was trained on.

    Raises:
        ValueError: weights or settings that their released code does not write.
    """
    args = checkpoint["args"]
    if args.get("noise_fn", "gauss") != "gauss":
        raise ValueError(f"`args` has noise_fn {args['noise_fn']!r}; only 'gauss' is the method's.")
    official_unet, official_segmenter = (checkpoint[part] for part in WEIGHTS)
    image_size = _image_size(args)
    unet = _build_unet(official_unet, args)
    segmenter = AnomalySegmenter(**segmenter_config(official_segmenter))
    load_weights(segmenter, dict(segmenter_weights(official_segmenter)), "seg_model_state_dict")
    return DiffusionADPipeline(
        unet,
        _scheduler(args),
        segmenter,
        image_size=image_size,
        antialias=False,
        input_range=(0.0, 1.0),
        t_fine=_number(args, "eval_normal_t", int),
        t_coarse=_number(args, "eval_noisier_t", int),
        guidance_weight=_number(args, "condition_w", float),
        top_fraction=TOP_PIXELS / image_size**2,
        category=category,
    )


def _build_unet(weights: dict[str, torch.Tensor], args: dict[str, Any]) -> OfficialUNet:
    config = unet_config(weights)
    if config["in_channels"] != 3:
        raise ValueError(
            f"`unet_model_state_dict` takes {config['in_channels']} channels; only 3 (RGB) work."
        )
    head_dim = args.get("num_head_channels", -1)  # -1: the number of heads is fixed instead
    if head_dim == -1:
        config["num_attention_heads"] = _number(args, "num_heads", int)
    else:
        config["attention_head_dim"] = _number(args, "num_head_channels", int)
    unet = OfficialUNet(**config)
    load_weights(unet, dict(unet_weights(weights, unet.heads_at)), "unet_model_state_dict")
    return unet


def _scheduler(args: dict[str, Any]) -> DDPMScheduler:
    steps, schedule = _number(args, "T", int), args.get("beta_schedule")
    if schedule == "cosine":
        return DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2")
    if schedule != "linear":
        raise ValueError(
            f"`args` has beta_schedule {schedule!r}; use a checkpoint with 'linear' or 'cosine'."
        )
    # Fewer steps are larger ones, so that as much noise is reached.
    return DDPMScheduler(steps, beta_start=0.1 / steps, beta_end=20 / steps, beta_schedule="linear")


def _image_size(args: dict[str, Any]) -> int:
    size = args.get("img_size")
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    if height != width:
        raise ValueError(f"`args` has img_size {size}; only square pictures work.")
    return _number({"img_size": width}, "img_size", int)


def _number(args: dict[str, Any], name: str, kind: type[Number]) -> Number:
    value = args.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
        found = f"has {name} {value!r}" if name in args else f"has no {name}"
        raise ValueError(f"`args` {found}; the authors' training writes a number there.")
    return kind(value)
