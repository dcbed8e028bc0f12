"""Foreign textures that the synthesis pastes (in the paper: DTD).

Without a folder of pictures the bank has 541 surfaces of 54 kinds (cc0_textures/, public domain) and renders
a fixed set of procedural textures. Nothing is downloaded.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from diffusionad.images.bit_depth import is_deep
from diffusionad.images.image_io import IMAGE_FORMATS, IMAGE_SUFFIXES

from ..data.records import pictures
from .perlin import perlin_noise

PROCEDURAL_COUNT = 240
SHEETS = Path(__file__).parent / "cc0_textures"  # of each kind one row of square, seamless surfaces
# A stored texture is larger than its crops by this factor, so that one texture gives many crops.
MARGIN = 1.25
CACHE_BYTES = 512 * 2**20  # of each process; further textures are read again at every draw

TextureKind = Callable[[int, np.random.Generator], np.ndarray]


class TextureBank:
    """Textures at one size, each made on first use and then kept; every process has the same ones.

    Args:
        folder: folder of pictures (DTD's `images/`, or any other), searched recursively; None for built-in
            textures.
        size: side S of the drawn textures, in pixels.
    """

    def __init__(self, folder: Path | None, size: int) -> None:
        if size < 8:
            raise ValueError(f"`size` is {size}; a texture needs 8 pixels a side or more")
        self.size = size
        self.stored_size = math.ceil(size * MARGIN)
        self.paths: list[Path] = []
        if folder is not None:
            folder = Path(folder)
            if not folder.is_dir():
                raise ValueError(
                    f"`folder` of textures {str(folder)!r} is no folder; give one, or None for built-in ones"
                )
            self.paths = pictures(folder, recursive=True)
            if not self.paths:
                raise ValueError(
                    f"`folder` of textures {str(folder)!r} holds no picture "
                    f"({', '.join(sorted(IMAGE_SUFFIXES))}); give another, or None for built-in ones"
                )
        self.surfaces = [] if self.paths else surfaces()
        self._cache: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self.paths) or len(self.surfaces) + PROCEDURAL_COUNT

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a crop of a texture, turned and mirrored at random: float32 [S,S,3] in [0, 1]."""
        return np.asarray(self.draw_picture(rng), np.float32) / 255

    def draw_picture(self, rng: np.random.Generator) -> Image.Image:
        """Draw as `draw` does, but return an RGB picture of S x S pixels."""
        texture = self._texture(int(rng.integers(len(self))))
        left, top = rng.integers(0, self.stored_size - self.size + 1, size=2).tolist()
        crop = texture.crop((left, top, left + self.size, top + self.size))
        turn = int(rng.integers(8))
        return crop.transpose(Image.Transpose(turn)) if turn < 7 else crop

    def _texture(self, index: int) -> Image.Image:
        """Return texture `index`, T x T pixels; built-in ones depend on the index and the size alone."""
        if index in self._cache:
            return self._cache[index]
        side = self.stored_size
        if self.paths:
            with Image.open(self.paths[index], formats=IMAGE_FORMATS) as picture:
                picture.draft("RGB", (side, side))
                shown: Image.Image = picture
                if is_deep(picture):  # Pillow would cut its values off at 255
                    values = np.asarray(picture, np.float32)
                    shown = Image.fromarray((values * (255 / max(1, values.max()))).astype(np.uint8))
                texture = ImageOps.fit(shown.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
        else:
            rng = np.random.default_rng([index, side])
            if index < len(self.surfaces):
                texture = enlarge(self.surfaces[index], side, rng)
            else:
                kind = PROCEDURAL_KINDS[index % len(PROCEDURAL_KINDS)]
                texture = Image.fromarray(colourize(kind(side, rng), rng))
        if (len(self._cache) + 1) * 3 * side * side <= CACHE_BYTES:
            self._cache[index] = texture
        return texture


def surfaces() -> list[Image.Image]:
    """Cut the shipped sheets into surfaces, RGB pictures of 128 x 128 pixels."""
    found = []
    for path in sorted(SHEETS.glob("*.jpg")):
        with Image.open(path, formats=("JPEG",)) as opened:
            sheet = opened.convert("RGB")
        side = sheet.height
        found += [sheet.crop((left, 0, left + side, side)) for left in range(0, sheet.width, side)]
    return found


def enlarge(surface: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """Repeat a seamless surface at one to two times its scale until it fills side x side pixels."""
    seen = math.ceil(side / rng.uniform(1, 2))  # pixels of the surface that are seen along a side
    repeats = math.ceil(seen / surface.width) + 1
    tiled = Image.fromarray(np.tile(np.asarray(surface), (repeats, repeats, 1)))
    left, top = rng.integers(surface.width, size=2).tolist()
    box = (left, top, left + seen, top + seen)
    return tiled.resize((side, side), Image.Resampling.BILINEAR, box=box)


def colourize(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour a grey field [T,T] by three random colours, a third of the palettes grey: uint8 [T,T,3]."""
    low, high = np.percentile(field, (1, 99))
    field = np.clip((field - low) / max(high - low, 1e-6), 0, 1)
    grey, chroma = rng.uniform(0, 255, (3, 1)), max(0.0, rng.uniform(-0.5, 1))
    colours = grey + chroma * (rng.uniform(0, 255, (3, 3)) - grey)
    place = rng.uniform(0.3, 0.7)
    channels = [np.interp(field, (0, place, 1), colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _rotated_coordinates(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates u, v in about [-0.7, 0.7] along two perpendicular random directions, [T,T] each."""
    angle = rng.uniform(0, math.pi)
    x = np.linspace(-0.5, 0.5, side)
    y = x[:, None]
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _turbulence(side: int, rng: np.random.Generator) -> np.ndarray:
    """Four octaves of Perlin noise, about [-1, 1]."""
    start = int(rng.integers(1, 4))
    return sum(perlin_noise(side, side, start * 2**k, start * 2**k, rng) / 2**k for k in range(4)) / 1.5


def _coloured_noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of spectrum 1/f^a, from sand (a = 0) to clouds (a = 2), with a grain along one axis at times."""
    frequency_y, frequency_x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    stretch = 2 ** rng.uniform(-2, 2) if rng.random() < 0.5 else 1.0
    frequency = np.hypot(frequency_y * stretch, frequency_x / stretch) + 1 / side
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) / frequency ** rng.uniform(0, 2)
    return np.fft.irfft2(spectrum, (side, side))


def _stripes(side: int, rng: np.random.Generator) -> np.ndarray:
    """Straight or wavy stripes with soft or hard edges."""
    u, v = _rotated_coordinates(side, rng)
    waves = rng.uniform(0, 0.03) * np.sin(2 * math.pi * rng.uniform(1, 6) * v)
    return np.tanh(np.sin(2 * math.pi * rng.uniform(4, 40) * (u + waves)) * rng.uniform(0.5, 8))


def _checks(side: int, rng: np.random.Generator) -> np.ndarray:
    """Checks, plaids and weaves: two crossed square waves, multiplied or added."""
    u, v = _rotated_coordinates(side, rng)
    hardness, pitch = rng.uniform(1, 10), rng.uniform(3, 24)
    wave_u = np.tanh(hardness * np.sin(2 * math.pi * pitch * u))
    wave_v = np.tanh(hardness * np.sin(2 * math.pi * pitch * rng.uniform(0.5, 2) * v))
    return wave_u * wave_v if rng.random() < 0.5 else wave_u + wave_v


def _cells(side: int, rng: np.random.Generator) -> np.ndarray:
    """Voronoi cells: flat plates, pebbles, or both."""
    count = int(2 ** rng.uniform(4, 10))
    away_from_seeds = np.ones((side, side), bool)
    away_from_seeds[tuple(rng.integers(0, side, (2, count)))] = False
    distance, (seed_y, seed_x) = ndimage.distance_transform_edt(away_from_seeds, return_indices=True)
    plate = rng.random((side, side))[seed_y, seed_x]
    return rng.uniform(0, 1) * plate - rng.uniform(0, 2) * distance / side * math.sqrt(count)


def _gradient(side: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth slope, straight or round, with a little sand."""
    u, v = _rotated_coordinates(side, rng)
    slope = u if rng.random() < 0.5 else np.hypot(u - rng.uniform(-0.5, 0.5), v - rng.uniform(-0.5, 0.5))
    return slope + rng.uniform(0, 0.1) * rng.standard_normal((side, side))


def _marble(side: int, rng: np.random.Generator) -> np.ndarray:
    """Veins of marble and wood: a sine bent by turbulence."""
    u, _ = _rotated_coordinates(side, rng)
    return np.sin(2 * math.pi * (rng.uniform(2, 10) * u + rng.uniform(0.3, 2) * _turbulence(side, rng)))


def _spots(side: int, rng: np.random.Generator) -> np.ndarray:
    """Islands and mazes of one width: noise between two blurs, hardened."""
    noise, width = rng.standard_normal((side, side)), side * 2 ** rng.uniform(-8, -5)
    band = ndimage.gaussian_filter(noise, width, mode="wrap") - ndimage.gaussian_filter(
        noise, 2 * width, mode="wrap"
    )
    return np.tanh((band / band.std() - rng.uniform(-1, 1)) * rng.uniform(1, 6))


def _turbulent(side: int, rng: np.random.Generator) -> np.ndarray:
    """Turbulence, plain or folded into ridges."""
    field = _turbulence(side, rng)
    return field if rng.random() < 0.5 else -np.abs(field)


PROCEDURAL_KINDS: tuple[TextureKind, ...] = (
    _coloured_noise,
    _stripes,
    _checks,
    _cells,
    _gradient,
    _marble,
    _spots,
    _turbulent,
)
