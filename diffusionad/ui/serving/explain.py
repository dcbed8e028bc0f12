"""The steps of norm-guided one-step denoising as captioned pictures."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusionad.images.preparation import to_rgb_image
from diffusionad.inspection.visualize import colorize
from diffusionad.pipeline import DiffusionADPipeline


def explain(
    pipeline: DiffusionADPipeline,
    picture: np.ndarray,
    generator: torch.Generator | None,
    settings: dict[str, Any],
    peak: tuple[float, float] = (0.5, 0.5),
) -> list[tuple[Image.Image, str]]:
    """Show the steps from a picture to its anomaly map, for the first noise draw.

    Args:
        pipeline: the model.
        picture: [H,W,3] float32 in [0, 1].
        generator: source of the noise; None takes the saved seed.
        settings: of the pipeline's call.
        peak: (y, x) as shares of height and width; of a picture in tiles, the one around it is shown.

    Returns:
        Both noised pictures, the one-step predictions from them, their blend, the map; with captions. Of a
        distilled model one noised picture and what it predicts. Before them the tile itself, where there are
        several.
    """
    steps = pipeline.intermediates(picture, peak, generator, **settings)
    used = {**pipeline.config, **settings}
    captions = {
        "x_t_fine": f"A little noise (t = {used['t_fine']})",
        "x_t_coarse": f"A lot of noise (t = {used['t_coarse']})",
        "x_0_fine": "Repaired from the little noise",
        "x_0_coarse": "Repaired from the lot of noise",
        "x_0_hat": f"Both blended (weight {used['guidance_weight']:g})",
    }
    if used["denoising"] == "distilled":
        captions = {"x_t_fine": f"Noise (t = {used['t_fine']})", "x_0_hat": "Repaired, at once"}
    pictures = [
        (to_rgb_image(steps[name]), f"{i}. {text}") for i, (name, text) in enumerate(captions.items(), 1)
    ]
    heat = Image.fromarray(colorize(steps.anomaly_map, threshold=used["threshold"]))
    count, draws = used["num_inference_steps"], used["num_noise_samples"]
    others = [f"{draws} noise draws"] * (draws > 1) + [f"{count} steps"] * (count > 1)
    than = f" of this one step; the verdict comes from {' of '.join(others)}" if others else ""
    pictures.append((heat, f"{len(captions) + 1}. Compared: the anomaly map{than}"))
    if steps.tile_count > 1:
        pictures.insert(
            0, (to_rgb_image(steps.tile), f"The tile that stands out most, of {steps.tile_count}")
        )
    return pictures
