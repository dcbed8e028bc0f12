"""Drawing with numpy alone: noise, distance fields, blobs, strokes, and the camera of the demo data.

Everything is float64 arithmetic on seeded PCG64 draws, without BLAS, FFT, fonts or a drawing library, and is
rounded to grey levels once, at the end: the same seed gives the same pixels on every machine.

Lengths are in picture widths; the origin is the centre of the picture, x to the right and y down. The scene
does not depend on the number of pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Standard deviation of cubic B-spline noise in one dimension: sqrt(151 / 315).
_SPLINE_STD = 0.6923


@dataclass(frozen=True)
class Canvas:
    """A grid of sample points, `supersample` x `supersample` in each pixel of the picture.

    Attributes:
        size: width and height of the finished picture, pixels.
        supersample: samples per pixel along each axis.
        x, y: positions of the samples, [S,S] with S = size * supersample, picture widths in (-0.5, 0.5).
    """

    size: int
    supersample: int
    x: np.ndarray
    y: np.ndarray

    @property
    def samples(self) -> int:
        return self.size * self.supersample

    @property
    def step(self) -> float:
        """Distance between two samples, in picture widths."""
        return 1.0 / self.samples


@lru_cache(maxsize=4)
def make_canvas(size: int, supersample: int) -> Canvas:
    axis = (np.arange(size * supersample) + 0.5) / (size * supersample) - 0.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    x.flags.writeable = y.flags.writeable = False
    return Canvas(size, supersample, x, y)


def smoothstep(start: float, end: float, value: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at `start` to 1 at `end`, flat beyond both; `start` may be the larger one."""
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def coverage(distance: np.ndarray, step: float) -> np.ndarray:
    """Return the fraction of a sample inside a shape (negative distance); the edge is one sample wide."""
    return np.clip(0.5 - distance / step, 0.0, 1.0)


def bump(q: np.ndarray) -> np.ndarray:
    """Return a bell of height 1 that is 0 for |q| >= 1, so that a defect ends with its mask."""
    return np.square(np.clip(1.0 - q * q, 0.0, None))


def noise_field(rng: np.random.Generator, samples: int, cells: int, stretch: int = 1) -> np.ndarray:
    """Draw smooth noise of mean 0 and standard deviation 1, [S,S]; `stretch` > 1 stretches it along x.

    The lattice belongs to the scene and not to the pixels: every resolution sees the same noise.
    """
    lattice = rng.standard_normal((cells + 3, cells // stretch + 3))
    rows = _spline(lattice.T, samples)  # [S,cells+3], x first
    return _spline(np.ascontiguousarray(rows.T), samples) / _SPLINE_STD**2


def _spline(lattice: np.ndarray, samples: int) -> np.ndarray:
    """Interpolate n + 3 knots along axis 0 to `samples` values by a cubic B-spline."""
    position = (np.arange(samples) + 0.5) / samples * (lattice.shape[0] - 3)
    cell = position.astype(np.int64)
    t = (position - cell)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    field = weights[0] / 6 * lattice[cell]
    for k in (1, 2, 3):
        field += weights[k] / 6 * lattice[cell + k]
    return field


def noise_profile(rng: np.random.Generator, knots: int, samples: int) -> np.ndarray:
    """Draw smooth noise of mean 0 and standard deviation 1 along a line, [samples]."""
    return _spline(rng.standard_normal((knots + 3, 1)), samples)[:, 0] / _SPLINE_STD


def stroke(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed distance to a polyline, its sides told apart, and the place along it in [0,1]."""
    nearest = np.full(x.shape, np.inf)
    along = np.zeros(x.shape)
    segments = len(points) - 1
    for k in range(segments):
        (x_a, y_a), (x_b, y_b) = points[k], points[k + 1]
        u, v = x_b - x_a, y_b - y_a
        length = max(np.sqrt(u * u + v * v), 1e-9)
        t = np.clip(((x - x_a) * u + (y - y_a) * v) / length**2, 0.0, 1.0)
        d_x, d_y = x - x_a - t * u, y - y_a - t * v
        distance = np.sqrt(d_x * d_x + d_y * d_y)
        closer = distance < np.abs(nearest)
        side = np.where(d_x * v - d_y * u < 0, -1.0, 1.0)
        nearest = np.where(closer, distance * side, nearest)
        along = np.where(closer, (k + t) / segments, along)
    return nearest, along


def curve(
    start: tuple[float, float], heading: float, length: float, bends: np.ndarray, n: int = 24
) -> np.ndarray:
    """Return a polyline [n+1,2] whose heading turns by each of `bends` (radians) in turn."""
    turn = np.cumsum(np.repeat(bends, -(-n // len(bends)))[:n]) / (n / len(bends))
    d_x, d_y = np.cos(heading + turn) * length / n, np.sin(heading + turn) * length / n
    return np.stack(
        [
            start[0] + np.concatenate([[0.0], np.cumsum(d_x)]),
            start[1] + np.concatenate([[0.0], np.cumsum(d_y)]),
        ],
        axis=1,
    )


def blob(
    x: np.ndarray, y: np.ndarray, radius: float, stretch: float, angle: float, wobble: np.ndarray
) -> np.ndarray:
    """Approximate the signed distance to a ragged ellipse; `wobble` is noise of deviation 1."""
    u = (x * np.cos(angle) + y * np.sin(angle)) / stretch
    v = (y * np.cos(angle) - x * np.sin(angle)) * stretch
    return np.sqrt(u * u + v * v) - radius * (1.0 + 0.16 * wobble)


@dataclass(frozen=True)
class Camera:
    """Exposure, light, vignette and grain: they differ between photographs of the same scene."""

    exposure: np.ndarray
    light_slope: tuple[float, float]
    vignette: float
    grain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Camera":
        """Draw the camera of one photograph."""
        return cls(
            exposure=rng.uniform(0.93, 1.07) * (1.0 + rng.uniform(-0.016, 0.016, 3)),
            light_slope=tuple(rng.uniform(-0.10, 0.10, 2)),
            vignette=rng.uniform(0.10, 0.34),
            grain=rng.uniform(1.5, 2.6),
        )

    def expose(self, scene: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Turn the samples of a scene, [3,S,S] in [0,1], into unrounded grey levels, [size,size,3]."""
        k, size = canvas.supersample, canvas.size
        samples = scene.reshape(3, size, k, size, k)
        total = np.asarray(sum(samples[:, :, i, :, j] for i in range(k) for j in range(k)))
        pixels = total / k**2  # [3,size,size]
        pixels = _soften(_soften(pixels, 1), 2)
        axis = (np.arange(size) + 0.5) / size - 0.5
        light = 1.0 + self.light_slope[0] * axis[None, :] + self.light_slope[1] * axis[:, None]
        light = light - self.vignette * (axis[None, :] ** 2 + axis[:, None] ** 2)
        return np.moveaxis(pixels * light, 0, -1) * (255.0 * self.exposure)


def _soften(pixels: np.ndarray, axis: int) -> np.ndarray:
    """Blur along one axis as a good lens does: a tenth of the light falls on each neighbour."""
    pad = [(1, 1) if k == axis else (0, 0) for k in range(pixels.ndim)]
    padded = np.pad(pixels, pad, mode="edge")
    n = pixels.shape[axis]
    before, after = (np.take(padded, range(k, n + k), axis) for k in (0, 2))
    return 0.8 * pixels + 0.1 * (before + after)


def close_gaps(mask: np.ndarray, radius: int) -> np.ndarray:
    """Join parts of a mask up to 2 * radius pixels apart: a morphological closing by a square."""
    padded = np.pad(mask, 2 * radius)
    closed = ~_grow(~_grow(padded, radius), radius)
    return closed[2 * radius : -2 * radius, 2 * radius : -2 * radius] | mask


def _grow(mask: np.ndarray, radius: int) -> np.ndarray:
    for axis in (0, 1):
        grown = mask.copy()
        for shift in range(1, radius + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = grown
    return mask
