"""The demo category `washer`: a turned, marked steel washer on a conveyor belt, and its defects.

A picture is made of layers: belt, shadow, metal, ink, and the outline of the part. A defect changes one or
two layers, and the picture is composed the same way with it as without.
"""

from dataclasses import dataclass

import numpy as np

from .canvas import (
    Canvas,
    blob,
    bump,
    coverage,
    curve,
    noise_field,
    noise_profile,
    smoothstep,
    stroke,
)
from .washer_print import RADIUS, mark_coverage

_OUTER, _INNER = 0.40, 0.15
_CHAMFER_OUTER, _CHAMFER_INNER = 0.020, 0.016
_BELT = np.array([0.250, 0.355, 0.315]).reshape(3, 1, 1)
_STEEL = np.array([1.0, 1.005, 1.02]).reshape(3, 1, 1)
_INK = np.array([0.10, 0.13, 0.21]).reshape(3, 1, 1)


@dataclass
class Layers:
    """The part's pose and light, and the layers of its picture, [S,S] each."""

    canvas: Canvas
    scale: float
    light: np.ndarray  # [2], unit vector towards the lamp
    turn: float  # radians
    x: np.ndarray  # from the part's centre along the picture's axes, part units
    y: np.ndarray
    r: np.ndarray
    belt: np.ndarray  # brightness
    shadow: np.ndarray  # darkness of the belt
    metal: np.ndarray  # brightness
    tint: np.ndarray  # [3,1,1] or, where stained, [3,S,S]: colour of the metal
    ink: np.ndarray  # opacity
    outline: np.ndarray  # 1 on the part, 0 on the belt

    @property
    def step(self) -> float:
        return self.canvas.step / self.scale

    def on_part(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of the part, in which its mark is upright."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return c * self.x + s * self.y, c * self.y - s * self.x


def draw(
    canvas: Canvas, rng: np.random.Generator, defect: str | None, defect_rng: np.random.Generator
) -> np.ndarray:
    """Draw one picture, [3,S,S], about 0 to 1; the state of `rng` fixes the part, whatever the defect."""
    layers = _good_part(canvas, rng)
    if defect is not None:
        _DEFECTS[defect](layers, defect_rng)
    belt = layers.belt * (1.0 - layers.shadow) * (1.0 - layers.outline)
    ink = layers.ink * layers.outline
    metal = layers.metal * (layers.outline - ink)
    return belt * _BELT + metal * layers.tint + ink * _INK  # [3,S,S]


def _good_part(canvas: Canvas, rng: np.random.Generator) -> Layers:
    scale = rng.uniform(0.96, 1.04)
    shift = rng.uniform(-0.04, 0.04, 2)
    turn = np.deg2rad(rng.uniform(-12, 12))
    lamp = np.deg2rad(rng.uniform(-140, -110))
    light = np.array([np.cos(lamp), np.sin(lamp)])
    x, y = (canvas.x - shift[0]) / scale, (canvas.y - shift[1]) / scale
    r = np.sqrt(x * x + y * y)
    step = canvas.step / scale
    layers = Layers(
        canvas, scale, light, turn, x, y, r,
        belt=_belt(canvas, rng),
        shadow=_shadow(x, y, light),
        metal=_turned_steel(x, y, r, light, rng),
        tint=_STEEL,
        ink=np.zeros(x.shape),
        outline=coverage(np.maximum(r - _OUTER, _INNER - r), step),
    )  # fmt: skip
    wear = 1.0 - 0.10 * np.clip(noise_field(rng, canvas.samples, 48), 0, 2)
    layers.ink = mark_coverage(*layers.on_part(), r, step) * wear * rng.uniform(0.80, 0.92)
    return layers


def _belt(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Draw a green conveyor belt: an embossed grid, fine roughness, a little lint and dust."""
    frequency, phase = 2 * np.pi / 0.017, rng.uniform(0, 2 * np.pi, 2)
    axis = canvas.x[0]
    tone = 0.030 * noise_field(rng, canvas.samples, 150) + 0.030 * noise_field(rng, canvas.samples, 5)
    tone += 1.0 + 0.028 * np.cos(frequency * axis + phase[0])
    tone += 0.028 * np.cos(frequency * axis + phase[1])[:, None]
    for _ in range(rng.integers(2, 6)):
        _add_lint(tone, canvas, rng)
    return tone


def _add_lint(tone: np.ndarray, canvas: Canvas, rng: np.random.Generator) -> None:
    """Add one faint fibre; compute only the window around it."""
    centre, length = rng.uniform(-0.48, 0.48, 2), rng.uniform(0.01, 0.06)
    points = curve(tuple(centre), rng.uniform(0, 2 * np.pi), length, rng.uniform(-1.5, 1.5, 2), n=8)
    first, last = (
        np.clip(((centre + reach + 0.5) * canvas.samples).astype(np.int64), 0, canvas.samples)
        for reach in (-length - 0.01, length + 0.01)
    )
    window = np.s_[first[1] : last[1], first[0] : last[0]]
    distance, _ = stroke(points, canvas.x[window], canvas.y[window])
    tone[window] += rng.uniform(0.08, 0.24) * bump(distance / rng.uniform(0.003, 0.005))


def _shadow(x: np.ndarray, y: np.ndarray, light: np.ndarray, chip: np.ndarray | None = None) -> np.ndarray:
    """Return the shadow on the belt, [S,S]; `chip` is the distance field of a missing piece."""
    x, y = x + 0.022 * light[0], y + 0.022 * light[1]
    r = np.sqrt(x * x + y * y)
    distance = np.maximum(r - _OUTER, _INNER - r)
    if chip is not None:
        distance = np.maximum(distance, -chip)
    return 0.62 * smoothstep(0.026, -0.022, distance)


def _turned_steel(
    x: np.ndarray, y: np.ndarray, r: np.ndarray, light: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the luminance of a face with concentric turning marks between two chamfers, [S,S].

    Light on fine concentric grooves gathers in two opposite fans, on the line through centre and lamp; each
    groove turns its fan a little.
    """
    inverse_r = 1.0 / np.maximum(r, 1e-6)
    towards = (x * light[0] + y * light[1]) * inverse_r
    across = (x * light[1] - y * light[0]) * inverse_r
    # A table of 4096 radii is finer than the pixels of any picture we render.
    ring = np.minimum(r * (4096 / 0.45), 4095).astype(np.int64)
    groove = (noise_profile(rng, 130, 4096) + 0.8 * noise_profile(rng, 45, 4096))[ring]
    lean = noise_profile(rng, 60, 4096)[ring]
    fan = np.exp(-(((across + 0.035 * lean) / 0.34) ** 2)) * (0.90 + 0.10 * towards)
    side_fan = np.exp(-((towards / 0.22) ** 2))
    steel = 0.46 + 0.36 * fan + 0.05 * side_fan + groove * (0.011 + 0.018 * fan)
    # The chamfers look outwards and inwards: one is bright towards the lamp, the other away from it.
    outer = 0.40 + 0.20 * towards + 0.48 * np.exp(-(((towards - 1.0) / 0.16) ** 2))
    inner = 0.38 - 0.22 * towards + 0.44 * np.exp(-(((towards + 1.0) / 0.16) ** 2))
    steel += smoothstep(-0.003, 0.003, r - (_OUTER - _CHAMFER_OUTER)) * (outer - steel)
    steel += smoothstep(0.003, -0.003, r - (_INNER + _CHAMFER_INNER)) * (inner - steel)
    # Burnished edges between face and chamfers.
    steel += 0.10 * bump((r - (_OUTER - _CHAMFER_OUTER)) / 0.006) + 0.08 * bump(
        (r - (_INNER + _CHAMFER_INNER)) / 0.006
    )
    return steel


def _place_on_face(rng: np.random.Generator, low: float = 0.20, high: float = 0.35) -> tuple[float, float]:
    radius, angle = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
    return radius * np.cos(angle), radius * np.sin(angle)


def _scratch(layers: Layers, rng: np.random.Generator) -> None:
    """A groove with one lit and one dark wall, tapering at both ends."""
    place = _place_on_face(rng)
    length, heading = rng.uniform(0.07, 0.26), rng.uniform(0, 2 * np.pi)
    start = (place[0] - 0.5 * length * np.cos(heading), place[1] - 0.5 * length * np.sin(heading))
    distance, along = stroke(curve(start, heading, length, rng.uniform(-0.5, 0.5, 2)), layers.x, layers.y)
    width = rng.uniform(0.0045, 0.0085) * (0.35 + 0.65 * np.sqrt(np.clip(4 * along * (1 - along), 0, 1)))
    wall = bump((distance - 0.55 * width) / width) - 0.85 * bump((distance + 0.55 * width) / width)
    depth = (
        rng.choice([-1.0, 1.0])
        * rng.uniform(0.14, 0.50)
        * smoothstep(0, 0.1, along)
        * smoothstep(1, 0.9, along)
    )
    layers.metal += depth * wall
    layers.ink *= 1.0 - 0.8 * bump(distance / (1.5 * width))


def _chip(layers: Layers, rng: np.random.Generator) -> None:
    """A piece broken out of the rim: the belt shows, and the fracture is rough and catches the light."""
    at_outer = rng.random() < 0.6
    rim, angle = (_OUTER, rng.uniform(0, 2 * np.pi)) if at_outer else (_INNER, rng.uniform(0, 2 * np.pi))
    radius = rng.uniform(0.030, 0.062)
    reach = rng.uniform(-0.2, 0.35) * radius * (1 if at_outer else -1)
    x = layers.x - (rim + reach) * np.cos(angle)
    y = layers.y - (rim + reach) * np.sin(angle)
    stretch, tilt = rng.uniform(1.0, 1.3), angle + np.pi / 2
    wobble = noise_field(rng, layers.canvas.samples, 26)
    missing = blob(x, y, radius, stretch, tilt, wobble)
    shade_x, shade_y = x + 0.022 * layers.light[0], y + 0.022 * layers.light[1]
    layers.shadow = _shadow(
        layers.x, layers.y, layers.light, blob(shade_x, shade_y, radius, stretch, tilt, wobble)
    )
    facing = -(x * layers.light[0] + y * layers.light[1]) / radius
    rough = 0.07 * noise_field(rng, layers.canvas.samples, 90)
    fracture = smoothstep(0.012, 0.009, missing)
    layers.metal += fracture * (0.42 + 0.28 * facing + rough - layers.metal)
    layers.ink *= 1.0 - fracture
    layers.outline *= 1.0 - coverage(missing, layers.step)


def _stain(layers: Layers, rng: np.random.Generator) -> None:
    """Oil darkens, rust colours; both have a soft, ragged edge."""
    place = _place_on_face(rng, 0.20, 0.37)
    radius = rng.uniform(0.038, 0.088)
    wobble = noise_field(rng, layers.canvas.samples, 14)
    shape = blob(
        layers.x - place[0], layers.y - place[1], radius, rng.uniform(1, 1.35), rng.uniform(0, np.pi), wobble
    )
    rust = rng.random() < 0.5
    filter_colour = np.array([0.80, 0.52, 0.30]) if rust else np.array([0.58, 0.55, 0.47])
    patchy = np.clip(1.0 + (0.30 if rust else 0.08) * noise_field(rng, layers.canvas.samples, 40), 0.3, 1.4)
    amount = rng.uniform(0.36, 0.98) * smoothstep(0.0, -(0.5 if rust else 0.3) * radius, shape) * patchy
    layers.tint = _STEEL * (1.0 - amount * (1.0 - filter_colour.reshape(3, 1, 1)))


def _missing_print(layers: Layers, rng: np.random.Generator) -> None:
    """The printer skipped some letters, one line, or everything."""
    x, y = layers.on_part()
    below = rng.random() < 0.5
    line = smoothstep(-0.01, 0.01, y if below else -y)
    extent = rng.choice(["letters", "line", "all"], p=[0.6, 0.25, 0.15])
    if extent == "letters":
        angle = rng.uniform(-0.55, 0.55)
        s = RADIUS * (np.arctan2(x, np.abs(y)) - angle)
        line = line * smoothstep(1.0, 0.85, np.abs(s) / rng.uniform(0.055, 0.12))
    elif extent == "all":
        line = np.ones_like(line)
    layers.ink *= 1.0 - rng.uniform(0.6, 1.0) * line


def _double_print(layers: Layers, rng: np.random.Generator) -> None:
    """The part slipped under the printer: a second, paler impression beside the first."""
    x, y = layers.on_part()
    slip = rng.choice([-1.0, 1.0]) * rng.uniform(0.030, 0.085)
    c, s = np.cos(slip), np.sin(slip)
    x, y = c * x + s * y + rng.uniform(-0.010, 0.010), c * y - s * x + rng.uniform(-0.010, 0.010)
    ghost = mark_coverage(x, y, np.sqrt(x * x + y * y), layers.step)
    layers.ink = np.maximum(layers.ink, rng.uniform(0.28, 0.80) * ghost)


def _dent(layers: Layers, rng: np.random.Generator) -> None:
    """A hollow: its far wall faces the lamp, its near wall lies in the dark."""
    place, radius = _place_on_face(rng, 0.20, 0.34), rng.uniform(0.026, 0.054)
    stretch, tilt = rng.uniform(1.0, 1.3), rng.uniform(0, np.pi)
    d_x, d_y = layers.x - place[0], layers.y - place[1]
    q = blob(d_x, d_y, radius, stretch, tilt, np.zeros(1)) / radius + 1.0
    facing = -(d_x * layers.light[0] + d_y * layers.light[1]) / radius
    slope = np.clip(q, 0, 1.0) ** 0.5 * bump(q**2)
    layers.metal += rng.uniform(0.50, 1.1) * (facing * slope - 0.15 * bump(q))


_DEFECTS = {
    "scratch": _scratch,
    "chip": _chip,
    "stain": _stain,
    "missing_print": _missing_print,
    "double_print": _double_print,
    "dent": _dent,
}
DEFECTS = tuple(_DEFECTS)
