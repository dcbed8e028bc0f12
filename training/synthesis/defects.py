"""Families of synthetic defects beyond the paper: scratches and cracks, shading, dots, chips.

The paper pastes textures within Perlin islands; real defects are often thin, small, soft, or made of the
texture of the picture (cut_paste.py). Every family takes the picture (float32 [H,W,3] in [0, 1]), the region
of possible defects (bool [H,W], not empty), a contrast (the largest change it aims at, in [-1, 1], negative
where it darkens) and a generator. It returns the damaged picture and its mask (bool [H,W]), or None where it
finds no place or the defect would be invisible: the caller then draws again.

Unless a docstring says otherwise, the mask holds exactly the pixels that changed by `VISIBLE` or more in some
channel, and all other pixels stay unchanged. Lengths are given for 256 pixels and grow with the picture.
"""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from .perlin import perlin_noise

# Two of 255 grey levels: JPEG loses as much, and nobody would label such a change.
VISIBLE = 2 / 255

STANDS_OUT = 3.0  # standard deviations; a larger change of a pixel counts no more

Defect = tuple[np.ndarray, np.ndarray] | None


def visible_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the pixels with a channel that changed by `VISIBLE` or more, bool [H,W]."""
    return largest_change(after - before) >= VISIBLE


def largest_change(change: np.ndarray) -> np.ndarray:
    """Return the largest absolute change of the channels, [H,W]; faster than `max` over the last axis."""
    change = np.abs(change)
    return np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2])


def _add(image: np.ndarray, delta: np.ndarray, region: np.ndarray) -> Defect:
    """Add delta ([H,W] or [H,W,3]) where it is visible within the region; return None if it is nowhere."""
    after = np.clip(image + (delta if delta.ndim == 3 else delta[..., None]), 0, 1)
    mask = visible_change(image, after) & region
    return (np.where(mask[..., None], after, image), mask) if mask.any() else None


def random_point(region: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a pixel (y, x) of the region."""
    inside = np.flatnonzero(region)
    y, x = divmod(int(inside[rng.integers(inside.size)]), region.shape[1])
    return y, x


def _window(y: int, x: int, reach: int) -> tuple[slice, slice]:
    """Return the square within `reach` of a pixel; numpy cuts it at the right and lower border."""
    return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)


def grain_of(image: np.ndarray, block: int = 1) -> float:
    """Estimate the standard deviation of the texture of a picture, in means over block x block pixels.

    A change must exceed it to be visible. The estimate is robust: medians of differences between places 4
    pixels apart (at 256).
    """
    height, width = (side // block for side in image.shape[:2])
    green = image[: height * block, : width * block, 1]
    means = green.reshape(height, block, width, block).mean(axis=(1, 3)) if block > 1 else green
    lag = max(1, round(4 * min(image.shape[:2]) / 256 / block))
    steps = (np.abs(means[lag:] - means[:-lag]).ravel(), np.abs(means[:, lag:] - means[:, :-lag]).ravel())
    # A subset of about 4096 is enough; 0.954 is the median of |a - b| where a, b have standard deviation 1.
    return max(float(np.median(step[:: 1 + step.size // 4096])) for step in steps) / 0.954


def _above_grain(image: np.ndarray, contrast: float) -> np.float32:
    """Return the contrast, raised to twice the grain where it is below."""
    return np.float32(math.copysign(max(abs(contrast), 2 * grain_of(image)), contrast))


def keep_visible(image: np.ndarray, damaged: np.ndarray, mask: np.ndarray, sigma: float) -> Defect:
    """Keep the parts of a defect that stand out from the texture of the picture; return None if none does.

    A connected part counts as visible where a matched filter would find it `sigma` standard deviations above
    the texture around it: the root of the sum of (change / local standard deviation)^2, both averaged over
    3 x 3 pixels, which leaves a ninth of the pixels independent. The deviation is that of the steadiest
    neighbourhood of each pixel: otherwise an edge nearby would count as texture. A picture of half the size
    has a quarter of the pixels for the same defect, so the root is scaled to 256 pixels. Invisible parts are
    undone: labelled, they would teach that texture is a defect.
    """
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    delta = damaged - image
    channel = int(np.abs(delta).sum(axis=(0, 1)).argmax())  # the one that changes most
    change, level = (ndimage.uniform_filter(values[..., channel], 3) for values in (delta, image))
    around = 2 * round(12 * min(mask.shape) / 256) + 1
    spread = ndimage.uniform_filter(level**2, around) - ndimage.uniform_filter(level, around) ** 2
    spread = ndimage.minimum_filter(spread, around)
    # No steadier than a grey level: cameras are not.
    ratio = np.minimum(change**2 / np.maximum(spread, (1 / 255) ** 2), STANDS_OUT**2)
    found = np.sqrt(ndimage.sum_labels(ratio, labels, np.arange(count + 1))) / 3
    seen = found * 256 / min(mask.shape) >= sigma
    seen[0] = False
    kept = seen[labels]
    return (np.where((mask & ~kept)[..., None], image, damaged), kept) if kept.any() else None


def _curve(
    start: np.ndarray, angle: float, length: float, step: float, is_crack: bool, rng: np.random.Generator
) -> np.ndarray:
    """Draw points (x, y) [P,2] of a walk: a crack jumps sideways at each step, a scratch bends slowly."""
    count = max(2, round(length / step))
    bend = np.linspace(0, rng.normal(0, 0.7), count)
    drift = np.cumsum(rng.normal(0, 0.5 / math.sqrt(count), count))
    direction = angle + bend + drift + rng.normal(0, 0.6 if is_crack else 0.02, count)
    steps = step * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def scratch(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Draw a thin light or dark line, 1 to 5 pixels wide: a smooth scratch, or a jagged crack with branches.

    The line is drawn four times larger and averaged down; its strength varies along the way and may
    interrupt it. A contrast below twice the grain of the picture is raised to that.
    """
    oversampling = 4
    height, width = region.shape
    unit = min(region.shape) / 256
    step = max(1.0, 4 * unit)
    thickness = max(1.0, 5 ** rng.uniform(0, 1) * unit)
    is_crack = rng.random() < 0.5
    length, angle = unit * 2 ** rng.uniform(4, 7.8), rng.uniform(0, 2 * math.pi)
    y, x = random_point(region, rng)
    start = np.array([x, y]) - length / 2 * np.array([math.cos(angle), math.sin(angle)])
    trunk = _curve(start, angle, length, step, is_crack, rng)
    lines = [(trunk, thickness)]
    for _ in range(rng.integers(0, 4) if is_crack else 0):
        fork = trunk[rng.integers(len(trunk))]
        branch_angle = angle + rng.choice((-1, 1)) * rng.uniform(0.4, 1.2)
        branch = _curve(fork, branch_angle, length * rng.uniform(0.15, 0.5), step, is_crack, rng)
        lines.append((branch, max(1.0, 0.6 * thickness)))

    canvas = Image.new("L", (width * oversampling, height * oversampling))
    drawing = ImageDraw.Draw(canvas)
    for points, line_width in lines:
        corners = (points * oversampling).ravel().tolist()
        drawing.line(corners, 255, round(line_width * oversampling), joint="curve")
    coverage = np.asarray(canvas.reduce(oversampling), np.float32) / 255  # [H,W]
    strength = np.clip(0.8 + perlin_noise(height, width, 6, 6, rng), 0, 1)
    return _add(image, _above_grain(image, contrast) * coverage * strength, region)


def shading(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Draw a soft light or dark cloud without an edge.

    The mask holds the pixels with a visible change of at least a third of the peak. The fading rim outside
    the mask stays in the picture: cutting it off would draw an edge.
    """
    height, width = region.shape
    centre_y, centre_x = random_point(region, rng)
    angle = rng.uniform(0, math.pi)
    radius_u, radius_v = min(height, width) * 2 ** rng.uniform(-4.5, -2, 2)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre_y)
    x = np.arange(width, dtype=np.float32) - np.float32(centre_x)
    u = np.float32(math.cos(angle) / radius_u) * x + np.float32(math.sin(angle) / radius_u) * y
    v = np.float32(math.cos(angle) / radius_v) * y - np.float32(math.sin(angle) / radius_v) * x
    outline = 1 + np.float32(0.6) * perlin_noise(height, width, 4, 4, rng)
    cloud = np.exp((u * u + v * v) * outline * np.float32(-0.5))
    after = np.clip(image + (np.float32(contrast) * cloud * region)[..., None], 0, 1)
    mask = visible_change(image, after) & (cloud >= 1 / 3) & region
    return (after, mask) if mask.any() else None


def dots(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Draw 1 to 12 small elliptic dots, 1 to 7 pixels in radius: flat, soft, or pits lit from one side.

    A contrast below twice the grain of the picture is raised to that.
    """
    profile = ("flat", "soft", "pit")[rng.integers(3)]
    light = rng.uniform(0, 2 * math.pi)
    shape = np.zeros(region.shape, np.float32)
    for _ in range(rng.integers(1, 13) if rng.random() < 0.5 else 1):
        centre_y, centre_x = random_point(region, rng)
        radius = max(1.0, min(region.shape) / 256 * 2 ** rng.uniform(0.3, 2.8))
        ratio, angle = rng.uniform(0.6, 1), rng.uniform(0, math.pi)
        window = _window(centre_y, centre_x, math.ceil(radius / ratio) + 1)
        rows, columns = shape[window].shape
        y = np.arange(rows)[:, None] + (window[0].start - centre_y)
        x = np.arange(columns) + (window[1].start - centre_x)
        u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        distance = np.hypot(u * ratio, v / ratio)
        dot = np.clip(radius - distance + 0.5, 0, 1)  # an edge one pixel soft
        if profile == "soft":
            dot = np.exp(-2 * (distance / radius) ** 2)
        elif profile == "pit":
            dot = dot * (0.6 + 0.4 * np.clip((x * math.cos(light) + y * math.sin(light)) / radius, -1, 1))
        shape[window] = np.maximum(shape[window], dot)
    return _add(image, _above_grain(image, contrast) * shape, region)


def _stretched_from_frame(
    image: np.ndarray, window: tuple[slice, slice], point: tuple[int, int], factor: float
) -> np.ndarray:
    """Return a window whose strip along the frame, on the side next to `point`, is `factor` times as wide."""
    distances = [(point[axis], image.shape[axis] - 1 - point[axis]) for axis in (0, 1)]
    axis = int(min(distances[1]) < min(distances[0]))
    at_end = distances[axis][1] < distances[axis][0]
    last = image.shape[axis] - 1
    lines = np.arange(last + 1)[window[axis]]
    lines = last - ((last - lines) / factor).astype(int) if at_end else (lines / factor).astype(int)
    other = window[1 - axis]
    return image[lines, other] if axis == 0 else image[other, lines]


def chip(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Break a piece out of the border of the object: the nearest background continues into the object.

    Where object and background differ by more than |contrast|, they are mixed until they differ by that. An
    object that fills the picture breaks at the frame: the strip along the frame, such as a narrow background,
    grows 2 to 5 times as wide. Where that strip looks like the object, the broken face has half of the grain,
    and its mean is shifted by the contrast (at least twice the grain).
    """
    fills = bool(region.all())
    border = region & ~ndimage.binary_erosion(region, border_value=not fills)
    centre_y, centre_x = random_point(border, rng)
    radius = max(2.0, min(region.shape) * 2 ** rng.uniform(-5.5, -3))
    window = _window(centre_y, centre_x, math.ceil(1.5 * radius))
    local, old = region[window], image[window]
    rows, columns = local.shape
    y = np.arange(rows)[:, None] + (window[0].start - centre_y)
    x = np.arange(columns) + (window[1].start - centre_x)
    distance = np.hypot(y, x) / radius
    bite = local & (distance < 1 + 0.5 * perlin_noise(rows, columns, 3, 3, rng))
    if fills:
        fill = _stretched_from_frame(image, window, (centre_y, centre_x), factor=rng.uniform(2, 5))
    else:
        nearest = ndimage.distance_transform_edt(local, return_distances=False, return_indices=True)
        # Averaged over 3 x 3 pixels: single background pixels would become streaks.
        background = ndimage.uniform_filter(np.where(local[..., None], 0, old), (3, 3, 0))
        weight = ndimage.uniform_filter((~local).astype(np.float32), 3)[..., None]
        fill = (background / np.maximum(weight, 1e-6))[tuple(nearest)]
    typical = float(np.median(largest_change(fill - old)[bite]))
    strength = np.float32(min(1.0, abs(contrast) / max(typical, 1e-6)))
    if fills and typical <= 3 * grain_of(image):
        fill, strength = (old + old[bite].mean(axis=0)) / 2 + _above_grain(image, contrast), np.float32(1)
    delta = np.zeros_like(image)
    delta[window] = np.where(bite[..., None], strength * (fill - old), 0)
    return _add(image, delta, region)
