"""What the model did, picture by picture: DiffusionAD's norm-guided one-step denoising, laid open."""

import math
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusionad.guidance import norm_guided_one_step
from diffusionad.images.tiling import TiledPicture
from diffusionad.inspection.visualize import colorize
from diffusionad.pipeline import DiffusionADPipeline


@torch.no_grad()
def explain(
    pipeline: DiffusionADPipeline,
    picture: np.ndarray,
    generator: torch.Generator | None,
    settings: dict[str, Any],
    peak: tuple[float, float] = (0.5, 0.5),
) -> list[tuple[Image.Image, str]]:
    """The steps from a picture to its anomaly map, for the first noise draw.

    Args:
        pipeline: the model.
        picture: [H,W,3] float32 in [0, 1].
        generator: source of the noise; None takes the saved seed.
        settings: of the pipeline's call.
        peak: (y, x) as shares of height and width; of a picture in tiles, the one around it is shown.

    Returns:
        Both noised pictures, the one-step predictions from them, their blend, the map; with captions. Before
        them the tile itself, where there are several.
    """
    settings = {**pipeline.config, **settings}
    t_fine, t_coarse, weight = (settings[name] for name in ("t_fine", "t_coarse", "guidance_weight"))
    [tiled], _ = pipeline._preprocess([picture], 0)
    tile = tiled.tile(_tile_around(peak, tiled))
    x_0 = pipeline._to_input_range([tile])  # [1,3,S,S]
    noise_fine, noise_coarse, _ = pipeline._draw_noise(settings, generator)[0]
    step = norm_guided_one_step(
        pipeline.unet, pipeline.scheduler, x_0, noise_fine, noise_coarse, t_fine, t_coarse, weight
    )
    dtype = pipeline.segmenter.dtype
    logits = pipeline.segmenter(x_0.to(dtype), step.x_0_hat.to(dtype)).float()  # [1,1,S,S]
    anomaly_map = torch.sigmoid(logits)[0, 0].cpu().numpy()
    x_t_fine, x_t_coarse = step.x_t.chunk(2)
    tensors = {
        f"1. A little noise (t = {t_fine})": x_t_fine,
        f"2. A lot of noise (t = {t_coarse})": x_t_coarse,
        "3. Repaired from the little noise": step.x_0_fine,
        "4. Repaired from the lot of noise": step.x_0_coarse,
        f"5. Both blended (weight {weight:g})": step.x_0_hat,
    }
    pictures = [(_to_pil(pipeline._to_unit_range(x)), caption) for caption, x in tensors.items()]
    heat = Image.fromarray(colorize(anomaly_map, threshold=settings["threshold"]))
    steps, draws = settings["num_inference_steps"], settings["num_noise_samples"]
    others = [f"{draws} noise draws"] * (draws > 1) + [f"{steps} steps"] * (steps > 1)
    than = f" of this one step; the verdict comes from {' of '.join(others)}" if others else ""
    pictures.append((heat, f"6. Compared: the anomaly map{than}"))
    if len(tiled) > 1:
        shown = Image.fromarray((tile * 255).round().astype(np.uint8))
        pictures.insert(0, (shown, f"The tile that stands out most, of {len(tiled)}"))
    return pictures


def _tile_around(peak: tuple[float, float], tiled: TiledPicture) -> int:
    """The tile whose centre is nearest."""
    y, x = (share * side for share, side in zip(peak, tiled.picture.shape, strict=False))

    def distance(index: int) -> float:
        rows, columns = tiled.tiling.window(index)
        return math.hypot((rows.start + rows.stop) / 2 - y, (columns.start + columns.stop) / 2 - x)

    return min(range(len(tiled)), key=distance)


def _to_pil(x: torch.Tensor) -> Image.Image:
    """From [1,3,S,S] in [0, 1]."""
    return Image.fromarray((x[0].permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8))
