"""The demo category `fabric`: a 2/2 twill of blue warp and ecru weft, and its defects.

Every sample asks two threads, one warp and one weft, how high they run there; the higher one is seen. A
defect removes, lifts or thickens threads, soaks into them or lies on top.
"""

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, blob, bump, curve, noise_field, smoothstep, stroke

_PITCH = 0.050  # of the threads: 12.8 pixels at 256
_WARP = np.array([0.300, 0.395, 0.520]).reshape(3, 1, 1)
_WEFT = np.array([0.800, 0.765, 0.690]).reshape(3, 1, 1)
_GROUND = np.array([0.105, 0.105, 0.115]).reshape(3, 1, 1)
_ROUND = 0.9  # how far a thread's flank lies below its crown
_MARGIN = 6  # threads beyond the picture's edge, so that thread numbers stay positive


@dataclass
class Threads:
    """One system of parallel threads; arrays are [S,S]. `along` and `across` are in pitches."""

    number: np.ndarray
    across: np.ndarray  # from the thread's middle, in half widths
    along: np.ndarray
    rise: float  # places the crossings in the twill
    height: np.ndarray
    slope: np.ndarray
    tone: np.ndarray

    def top(self) -> np.ndarray:
        """Return the height of the surface: round on the thread, far below beside it."""
        bare = np.clip(np.abs(self.across) - 1.0, 0, None)
        return self.height - _ROUND * self.across**2 - 20.0 * bare


@dataclass
class Cloth:
    """A piece of cloth under a lamp, and the fibres and stains on it."""

    canvas: Canvas
    light: np.ndarray  # [2], unit vector towards the lamp
    turn: float
    warp: Threads
    weft: Threads
    dye: np.ndarray  # [3,1,1] or [3,S,S], what light is left by stains
    cover: np.ndarray  # [1,1] or [S,S], opacity of what lies on top
    cover_colour: np.ndarray  # [3,1,1] or [3,S,S]
    shade: np.ndarray  # [1,1] or [S,S], shadow of what lies on top


def draw(
    canvas: Canvas, rng: np.random.Generator, defect: str | None, defect_rng: np.random.Generator
) -> np.ndarray:
    """Draw one picture, [3,S,S], about 0 to 1; the state of `rng` fixes the cloth, whatever the defect."""
    cloth = _good_cloth(canvas, rng)
    if defect is not None:
        _DEFECTS[defect](cloth, defect_rng)
    return _compose(cloth)


def _good_cloth(canvas: Canvas, rng: np.random.Generator) -> Cloth:
    samples = canvas.samples
    turn = np.deg2rad(rng.uniform(-4, 4))
    pitch = _PITCH * rng.uniform(0.97, 1.03)
    phase = rng.uniform(0, 4, 2) + 0.5 / pitch + _MARGIN
    lamp = np.deg2rad(rng.uniform(-140, -110))
    c, s = np.cos(turn), np.sin(turn)
    # The cloth never lies quite straight.
    drift_x, drift_y = (0.10 * noise_field(rng, samples, 4) for _ in range(2))
    x = (c * canvas.x + s * canvas.y) / pitch + drift_x + phase[0]
    y = (c * canvas.y - s * canvas.x) / pitch + drift_y + phase[1]
    i, j = np.floor(x), np.floor(y)
    shade = 1.0 + 0.018 * noise_field(rng, samples, 4)
    fuzz = 0.030 * noise_field(rng, samples, 170)
    warp = _threads(rng, i, x - i - 0.5, y, rise=-1.0)
    weft = _threads(rng, j, y - j - 0.5, x, rise=-3.0)
    for threads in (warp, weft):
        threads.tone *= shade + fuzz
    nothing = np.zeros((1, 1))
    light = np.array([np.cos(lamp - turn), np.sin(lamp - turn)])
    return Cloth(canvas, light, turn, warp, weft, np.ones((3, 1, 1)), nothing, np.zeros((3, 1, 1)), nothing)


def _threads(
    rng: np.random.Generator, number: np.ndarray, offset: np.ndarray, along: np.ndarray, rise: float
) -> Threads:
    """Draw threads whose thickness, colour and twist vary a little between threads and along each."""
    n = 64
    index = number.astype(np.int64)
    half_width = 0.47 * (1.0 + 0.035 * rng.standard_normal(n))
    colour = 1.0 + 0.030 * rng.standard_normal(n)
    twist = rng.uniform(0, 2 * np.pi, n)
    wander = 0.035 * rng.standard_normal(n)
    across = (offset - wander[index]) / half_width[index]
    fibres = np.sin(2 * np.pi * (1.9 * along + 0.55 * across) + twist[index])
    phase = 0.5 * np.pi * (along + number + rise)
    return Threads(
        number=index,
        across=across,
        along=along,
        rise=rise,
        height=np.cos(phase),
        slope=-np.sin(phase),
        tone=colour[index] * (1.0 + 0.055 * fibres),
    )


def _lit(threads: Threads, light_across: float, light_along: float) -> np.ndarray:
    """Shade the threads as cylinders that rise and dive: bright on the crown, dark below."""
    n = np.clip(threads.across, -1, 1)
    crown = np.sqrt(1.0 - 0.92 * n * n)
    tone = 0.36 + 0.52 * crown + 0.22 * threads.height * crown + 0.13 * light_across * n
    return threads.tone * (tone + 0.07 * light_along * threads.slope)


def _compose(cloth: Cloth) -> np.ndarray:
    warp, weft = cloth.warp, cloth.weft
    top_warp, top_weft = warp.top(), weft.top()
    warp_seen = np.clip(0.5 + (top_warp - top_weft) / 0.25, 0, 1)
    top = np.maximum(top_warp, top_weft)
    thread_seen = np.clip((top + 2.6) / 0.8, 0, 1)
    # The lower thread lies in the shadow of the upper one near its edge.
    contact = 1.0 - 0.34 * bump((top_warp - top_weft) / 0.9)
    light_x, light_y = cloth.light
    common = contact * thread_seen * (1.0 - cloth.shade)
    lit_warp = _lit(warp, light_x, light_y) * warp_seen * common
    lit_weft = _lit(weft, light_y, light_x) * (1.0 - warp_seen) * common
    picture = lit_warp * _WARP + lit_weft * _WEFT + (1.0 - thread_seen) * _GROUND  # [3,S,S]
    picture *= cloth.dye
    return picture + cloth.cover * (cloth.cover_colour - picture)


def _somewhere(rng: np.random.Generator, margin: float = 0.12) -> np.ndarray:
    return rng.uniform(margin - 0.5, 0.5 - margin, 2)


def _thread_at(threads: Threads, canvas: Canvas, place: np.ndarray) -> tuple[int, float]:
    """Return the number of the thread at each sample, and the place along it in pitches."""
    column, row = ((place + 0.5) * canvas.samples).astype(np.int64)
    return int(threads.number[row, column]), float(threads.along[row, column])


def _remove(threads: Threads, gone: np.ndarray) -> None:
    threads.height -= 6.0 * gone


def _broken_thread(cloth: Cloth, rng: np.random.Generator) -> None:
    """A thread is missing for a few crossings; its ends stick up."""
    threads = cloth.warp if rng.random() < 0.5 else cloth.weft
    number, along = _thread_at(threads, cloth.canvas, _somewhere(rng, 0.15))
    half = rng.uniform(1.2, 3.5)
    distance = np.abs(threads.along - along)
    here = threads.number == number
    _remove(threads, here * smoothstep(half, half - 0.25, distance))
    ends = here * bump((distance - half - 0.3) / 0.6)
    threads.height += 0.5 * ends
    threads.across = threads.across * (1.0 + 0.25 * here * bump((distance - half) / 0.5))


def _stain(cloth: Cloth, rng: np.random.Generator) -> None:
    """Oil, rust or water: soaked into the threads, with a ragged edge."""
    place, radius = _somewhere(rng), rng.uniform(0.035, 0.100)
    wobble = noise_field(rng, cloth.canvas.samples, 14)
    shape = blob(
        cloth.canvas.x - place[0],
        cloth.canvas.y - place[1],
        radius,
        rng.uniform(1, 1.4),
        rng.uniform(0, np.pi),
        wobble,
    )
    colour = np.array([(0.52, 0.49, 0.44), (0.74, 0.52, 0.36), (0.60, 0.56, 0.52)])[rng.integers(3)]
    amount = rng.uniform(0.42, 0.98) * smoothstep(0.0, -0.45 * radius, shape)
    cloth.dye = 1.0 - amount * (1.0 - colour.reshape(3, 1, 1))


def _hole(cloth: Cloth, rng: np.random.Generator) -> None:
    """Both systems are torn; the ends fray, each thread at its own length."""
    place, radius = _somewhere(rng), rng.uniform(0.026, 0.065)
    wobble = noise_field(rng, cloth.canvas.samples, 22)
    shape = blob(
        cloth.canvas.x - place[0],
        cloth.canvas.y - place[1],
        radius,
        rng.uniform(1, 1.3),
        rng.uniform(0, np.pi),
        wobble,
    )
    for threads in (cloth.warp, cloth.weft):
        fray = 0.011 * rng.standard_normal(64)[threads.number]
        torn = smoothstep(0.004, -0.004, shape + np.clip(fray, -0.02, 0.02))
        _remove(threads, torn)
        threads.tone *= 1.0 + 0.12 * bump(shape / 0.02) - 0.25 * smoothstep(0.0, -0.02, shape)


def _thick_thread(cloth: Cloth, rng: np.random.Generator) -> None:
    """A slub: a weft yarn spun thick for a while pushes its neighbours aside and covers them."""
    threads = cloth.weft if rng.random() < 0.7 else cloth.warp
    other = cloth.warp if threads is cloth.weft else cloth.weft
    number, along = _thread_at(threads, cloth.canvas, _somewhere(rng))
    # Thickest in the middle of a float, where it is seen.
    along = 4.0 * np.round((along + number + threads.rise) / 4.0) - number - threads.rise
    half, swelling = rng.uniform(2.5, 5.0), rng.uniform(0.7, 1.3)
    swell = swelling * bump((threads.along - along) / half)
    # The slub lies over its neighbours' ground as well: its surface is drawn anew, the higher one is kept.
    across = (other.along - (number + 0.5)) / (0.46 * (1.0 + swell))
    phase = 0.5 * np.pi * (threads.along + number + threads.rise)
    height = np.cos(phase) + 0.45 * swell
    slub = Threads(threads.number, across, threads.along, threads.rise, height, threads.slope, threads.tone)
    wins = (swell > 0.0) & ((slub.top() + 0.4 * swell > threads.top()) | (threads.number == number))
    threads.across = np.where(wins, across, threads.across)
    settled = threads.height + smoothstep(0, 0.1, swell) * (height - threads.height)
    threads.height = np.where(wins, settled, threads.height)
    threads.tone = np.where(wins, threads.tone * (1.0 + 0.06 * swell), threads.tone)


def _missing_weft(cloth: Cloth, rng: np.random.Generator) -> None:
    """The shuttle failed: a weft is missing from selvedge to selvedge, or from a place where it broke."""
    number, along = _thread_at(cloth.weft, cloth.canvas, _somewhere(rng, 0.10))
    gone = (cloth.weft.number == number).astype(np.float64)
    if rng.random() < 0.6:
        side = rng.choice([-1.0, 1.0])
        gone *= smoothstep(0.0, 0.3, side * (cloth.weft.along - along) + 2.0)
    _remove(cloth.weft, gone)


def _foreign_fibre(cloth: Cloth, rng: np.random.Generator) -> None:
    """A hair or a coloured fibre lies on the cloth and throws a thin shadow."""
    start, length = _somewhere(rng, 0.15), rng.uniform(0.10, 0.32)
    points = curve(tuple(start), rng.uniform(0, 2 * np.pi), length, rng.uniform(-2.2, 2.2, 3), n=30)
    width = rng.uniform(0.0050, 0.0090)
    x, y = cloth.canvas.x, cloth.canvas.y
    distance, _ = stroke(points, x, y)
    colours = (
        (0.62, 0.16, 0.15),
        (0.12, 0.12, 0.13),
        (0.93, 0.93, 0.90),
        (0.20, 0.45, 0.26),
        (0.45, 0.30, 0.20),
    )
    colour = np.array(colours[rng.integers(len(colours))])
    body = smoothstep(1.0, 0.55, np.abs(distance) / width)
    cloth.cover = rng.uniform(0.55, 1.0) * body
    roundness = np.sqrt(np.clip(1 - (distance / width) ** 2, 0, 1))
    cloth.cover_colour = (0.85 + 0.30 * roundness) * colour.reshape(3, 1, 1)
    shadow, _ = stroke(points + 0.005 * np.array([0.6, 0.8]), x, y)
    cloth.shade = 0.35 * bump(shadow / (1.6 * width))


_DEFECTS = {
    "broken_thread": _broken_thread,
    "stain": _stain,
    "hole": _hole,
    "thick_thread": _thick_thread,
    "missing_weft": _missing_weft,
    "foreign_fibre": _foreign_fibre,
}
DEFECTS = tuple(_DEFECTS)
