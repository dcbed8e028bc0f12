"""The part as it should look: its own picture, reconstructed where it is defective. Free of torch."""

import numpy as np
from PIL import Image
from scipy import ndimage

# From here on, as a share of the pixel threshold, the reconstruction fades in; at the threshold it is whole.
FADE_FROM = 0.5
# Width of the feather and of what is replaced around the mask, as shares of the longer side: about one pixel
# and three at the 256 pixels of the networks, whose maps end a little inside of a defect.
FEATHER, MARGIN = 1 / 256, 3 / 256


def repair(
    picture: Image.Image,
    reconstruction: Image.Image,
    anomaly_map: np.ndarray,
    mask: np.ndarray,
    pixel_threshold: float,
) -> Image.Image:
    """Replace the defective regions of a picture by its reconstruction, feathered by the map.

    Args:
        picture: RGB [H,W].
        reconstruction: RGB of any size.
        anomaly_map: [H,W] in [0, 1].
        mask: bool [H,W], the defective regions. Where it is empty, the highest point of the map is taken.
        pixel_threshold: threshold of the map, in [0, 1].

    Returns:
        RGB [H,W]; far from the regions it has the picture's own pixels.
    """
    level = min(max(pixel_threshold, 1e-6), float(anomaly_map.max()))
    seed = mask if mask.any() else anomaly_map >= level
    longer = max(anomaly_map.shape)
    near = ndimage.label(seed | (anomaly_map > FADE_FROM * level), structure=np.ones((3, 3)))[0]
    is_ours = np.zeros(near.max() + 1, dtype=bool)
    is_ours[near[seed]] = True  # what surrounds a region, not what is faint elsewhere
    fade = np.clip((anomaly_map / level - FADE_FROM) / (1 - FADE_FROM), 0, 1) * is_ours[near]
    # Only where something changes: pictures have millions of pixels, regions hardly any.
    margin, sigma = max(1, round(MARGIN * longer)), max(1, FEATHER * longer)
    reach = margin + round(3 * sigma) + 1
    around = tuple(
        slice(max(0, int(places.min()) - reach), int(places.max()) + 1 + reach)
        for places in np.nonzero(fade + seed)
    )
    whole = np.where(seed, 1, fade)[around].astype(np.float32)
    weight = ndimage.grey_dilation(whole, size=(2 * margin + 1,) * 2)
    weight = ndimage.gaussian_filter(weight, sigma, truncate=3)  # in [0, 1]
    alpha = Image.fromarray((weight * 255).round().clip(0, 255).astype(np.uint8))
    repaired = picture.copy()
    drawn = reconstruction.resize(picture.size, Image.Resampling.BICUBIC)
    top, left = around[0].start, around[1].start
    repaired.paste(drawn.crop((left, top, left + alpha.width, top + alpha.height)), (left, top), alpha)
    return repaired
