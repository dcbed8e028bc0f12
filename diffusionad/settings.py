"""The settings that are saved with a pipeline: what values they may have, and which of them change scores."""

from typing import Any

import numpy as np

from diffusionad.images.tiling import RESIZE_MODES
from diffusionad.postprocessing.calibration import check_calibration
from diffusionad.postprocessing.contrast import EXPONENT_MAX, EXPONENT_MIN
from diffusionad.postprocessing.roi import decode_roi

# A calibration made with other values of these says nothing about the scores of a pipeline.
SCORE_SETTINGS = (
    "denoising",
    "image_size",
    "resize_mode",
    "shorter_side",
    "antialias",
    "input_range",
    "bit_depth",
    "t_fine",
    "t_coarse",
    "guidance_weight",
    "num_inference_steps",
    "num_noise_samples",
    "top_fraction",
    "contrast",
    "seed",
    "roi",
    "ignore_border",
)

# "guided": norm guidance of two noise scales, the paper's. "distilled": one scale, by a UNet that was taught
# what the guidance gives; the settings below then mean nothing.
DENOISING = ("guided", "distilled")
OF_GUIDANCE = ("t_coarse", "guidance_weight", "num_inference_steps", "num_noise_samples")
LEARNT = ("t_fine", "seed")  # the noise that a distilled model was taught with, and no other

MAX_SIDE = 2**16  # pixels to which pictures are scaled; their area is limited where they are cut into tiles
MAX_IMAGE_SIZE = 2**13  # of the square that the networks see, pixels: its noise takes memory in every call
MAX_WEIGHT = 1000  # of the norm guidance; far beyond any use, and far below what float32 overflows at
MAX_RANGE = 10_000  # absolute value of `input_range`
MAX_CATEGORY = 1000  # characters


def to_plain(value: Any) -> Any:
    """NumPy numbers and tuples as what JSON gives back."""
    if isinstance(value, np.generic):
        return value.item()
    return [to_plain(v) for v in value] if isinstance(value, tuple) else value


def check_settings(
    settings: dict[str, Any], num_train_timesteps: int, patch_size: int, multiples: dict[str, int]
) -> None:
    """Raise a ValueError that names the setting, what it is and what it may be.

    Args:
        settings: all of a pipeline, by name.
        num_train_timesteps: T of the scheduler.
        patch_size: p that the UNet works with.
        multiples: for each network, what `image_size` must be a multiple of.
    """
    if settings["patch_size"] != patch_size:
        raise ValueError(f"`patch_size` is {settings['patch_size']!r}, but `unet` works with {patch_size}.")
    _check_integer(settings, "image_size", 1, MAX_IMAGE_SIZE)
    for name, multiple in multiples.items():
        if settings["image_size"] % multiple:
            raise ValueError(
                f"`image_size` is {settings['image_size']}; `{name}` halves pictures down to blocks of "
                f"{multiple} pixels, so use a multiple of {multiple}."
            )
    if settings["resize_mode"] not in RESIZE_MODES:
        raise ValueError(
            f"`resize_mode` is {settings['resize_mode']!r}; use one of {', '.join(RESIZE_MODES)}."
        )
    _check_shorter_side(settings)
    if not isinstance(settings["antialias"], bool):
        raise ValueError(f"`antialias` is {settings['antialias']!r}; use True or False.")
    _check_range(settings["input_range"])
    if settings["bit_depth"] is not None:
        _check_integer(settings, "bit_depth", 8, 16, ", or None")

    _check_denoising(settings)
    for name in ("t_fine", "t_coarse"):
        _check_integer(settings, name, 0, num_train_timesteps - 1)
    if settings["t_fine"] >= settings["t_coarse"]:
        raise ValueError(
            f"`t_fine` is {settings['t_fine']} and `t_coarse` {settings['t_coarse']}; "
            "`t_fine` must be the smaller one."
        )
    _check_integer(settings, "num_inference_steps", 1, settings["t_coarse"])
    _check_integer(settings, "num_noise_samples", 1, 1024)
    _check_integer(settings, "seed", 0, 2**63 - 1)
    _check_integer(settings, "min_region_area", 0, 10**9)
    _check_integer(settings, "ignore_border", 0, (settings["image_size"] - 1) // 2)
    _check_number(settings, "guidance_weight", 0, MAX_WEIGHT)
    _check_number(settings, "threshold", 0, 1)
    _check_number(settings, "top_fraction", 0, 1)
    _check_number(settings, "contrast", EXPONENT_MIN, EXPONENT_MAX)
    _check_roi(settings["roi"])
    _check_category(settings["category"])
    if settings["calibration"] is not None:
        check_calibration(settings["calibration"])


def check_overrides(saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise a ValueError where a model is given what its networks have learnt otherwise.

    How a model denoises is learnt; a distilled one has learnt the guidance and its noise, too.
    """
    if given.get("denoising", saved["denoising"]) != saved["denoising"]:
        raise ValueError(
            f"`denoising` is {given['denoising']!r}, but the networks of this model have learnt "
            f"{saved['denoising']!r}; leave it out, or make a distilled model by `diffusionad distill`."
        )
    for name in (*OF_GUIDANCE, *LEARNT):
        if saved["denoising"] == "distilled" and given.get(name, saved[name]) != saved[name]:
            raise ValueError(
                f"`{name}` is {given[name]!r}, but this model is distilled: it denoises once, from one noise "
                "scale; leave it out, or use the model that it was distilled from."
            )


def _check_denoising(settings: dict[str, Any]) -> None:
    if settings["denoising"] not in DENOISING:
        raise ValueError(f"`denoising` is {settings['denoising']!r}; use one of {', '.join(DENOISING)}.")
    for name in ("num_inference_steps", "num_noise_samples"):
        if settings["denoising"] == "distilled" and settings[name] != 1:
            raise ValueError(
                f"`{name}` is {settings[name]!r}, but with `denoising` 'distilled' the model denoises once, "
                "from one noise draw; use 1."
            )


def _check_shorter_side(settings: dict[str, Any]) -> None:
    if settings["shorter_side"] is None:
        return
    if settings["resize_mode"] == "stretch":
        raise ValueError(
            f"`shorter_side` is {settings['shorter_side']!r}, but with `resize_mode` 'stretch' every picture "
            "becomes `image_size` x `image_size`; use None, or `resize_mode` 'tile'."
        )
    _check_integer(
        settings, "shorter_side", settings["image_size"], MAX_SIDE, " (not below `image_size`), or None"
    )


def _check_integer(settings: dict[str, Any], name: str, low: int, high: int, also: str = "") -> None:
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"`{name}` is {value!r}; give an integer in {low}..{high}{also}.")


def _check_number(settings: dict[str, Any], name: str, low: float, high: float) -> None:
    if not _is_number(settings[name], low, high):
        raise ValueError(f"`{name}` is {settings[name]!r}; give a number in {low:g}..{high:g}.")


def _is_number(value: Any, low: float, high: float) -> bool:
    """Say whether a value is a number in a range; NaN is in none."""
    return isinstance(value, int | float | np.integer | np.floating) and bool(low <= value <= high)


def _check_range(value: Any) -> None:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not all(_is_number(v, -MAX_RANGE, MAX_RANGE) for v in value) or not value[0] < value[1]:
        raise ValueError(
            f"`input_range` is {value!r}; give (low, high) such as (-1, 1), within +-{MAX_RANGE}."
        )


def _check_category(value: Any) -> None:
    if value is not None and not (isinstance(value, str) and len(value) <= MAX_CATEGORY):
        raise ValueError(
            f"`category` is a {type(value).__name__}; give a text of up to {MAX_CATEGORY} characters."
        )


def _check_roi(roi: Any) -> None:
    try:
        inside = None if roi is None else decode_roi(roi)
    except ValueError as error:
        raise ValueError(f"`roi` is damaged ({error}); set it again with `configure(roi=mask)`.") from error
    if inside is not None and not inside.any():
        raise ValueError("`roi` leaves no pixel to look at; mark with non-zero pixels where to look.")
