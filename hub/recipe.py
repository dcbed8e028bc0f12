"""What a card says of the way in which a model was made."""

from typing import Any

from .run import FinishedRun


def recipe(run: FinishedRun) -> list[tuple[str, str]]:
    """Return what a table of the card says of networks and training: label and value."""
    config, settings = run.config, run.settings
    optim, model = config.get("optim", {}), config.get("model", {})
    size = f"{settings['image_size']} x {settings['image_size']} pixels"
    if settings["resize_mode"] == "tile":
        size = f"tiles of {size}"
    if settings["patch_size"] > 1:
        size += f", in blocks of {settings['patch_size']} x {settings['patch_size']}"
    rows = [
        ("Pictures", "good ones only; defects are synthetic"),
        ("Input", size),
        ("Denoising", _denoising(settings)),
        ("UNet", f"channels {_listed(model['unet_channels'])}" if "unet_channels" in model else ""),
        (
            "Segmenter",
            f"channels {_listed(model['segmenter_channels'])}" if "segmenter_channels" in model else "",
        ),
        ("Steps", f"{optim['max_steps']} of {optim['batch_size']} pictures" if "max_steps" in optim else ""),
        ("Time", f"{run.metrics['train_minutes']:.0f} minutes" if "train_minutes" in run.metrics else ""),
    ]
    return [(label, value) for label, value in rows if value]


def _denoising(settings: dict[str, Any]) -> str:
    if settings.get("denoising") == "distilled":
        return f"one pass from t = {settings['t_fine']}, distilled from norm guidance"
    return f"one step from t = {settings['t_fine']} and {settings['t_coarse']}, norm-guided"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def resize_note(settings: dict[str, Any]) -> str:
    """Say at which size the pictures of a model are inspected, and what that misses."""
    side = settings["image_size"]
    if settings["resize_mode"] == "tile":
        shorter_side = settings["shorter_side"]
        scale = f"with a shorter side of {shorter_side} pixels" if shorter_side else "at their own scale"
        return (
            f" Pictures are inspected {scale}, in overlapping tiles of {side} x {side} pixels; a defect that "
            "shows only in more of a picture than a tile, such as a part in the wrong place, is not found."
        )
    return f" Pictures are squeezed to {side} x {side} pixels; a defect smaller than a pixel of that is lost."
