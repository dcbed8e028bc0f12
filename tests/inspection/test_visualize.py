"""Heat map, overlay, contours and panel: what must be seen is seen, what must not change does not."""

import numpy as np
import pytest
from PIL import Image

from diffusionad.inspection.panel import panel
from diffusionad.inspection.visualize import (
    BACKGROUND,
    COLORMAPS,
    CONTOUR,
    DEFECTIVE,
    GOOD,
    colorize,
    draw_contours,
    overlay,
)
from diffusionad.postprocessing.verdict import Verdict

VERDICT = Verdict(True, 0.812, 0.431, 0.004, 0.01, 999)


def grey(height: int, width: int, value: float = 0.5) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.float32)


def spot(height: int, width: int, y: int, x: int) -> np.ndarray:
    anomaly_map = np.zeros((height, width), dtype=np.float32)
    anomaly_map[y, x] = 1
    return anomaly_map


def brightness(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.2126, 0.7152, 0.0722])


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == color).all(axis=2).any())


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_the_color_maps_are_those_of_matplotlib(colormap):
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 256)[None]
    ours = colorize(values, colormap).astype(int)
    theirs = matplotlib.colormaps[colormap](values)[..., :3] * 255
    assert np.abs(ours - theirs).max() < 3


@pytest.mark.parametrize("colormap", ["inferno", "magma", "viridis"])
def test_more_anomalous_is_brighter_so_that_color_blindness_does_not_matter(colormap):
    colors = colorize(np.linspace(0, 1, 64)[None], colormap)[0]
    assert (np.diff(brightness(colors)) > 0).all()


@pytest.mark.parametrize("threshold", [0.001, 0.07, 0.5, 0.97, 1.0])
def test_the_threshold_gets_the_middle_color(threshold):
    middle = colorize(np.array([[0.5]]))[0, 0].astype(int)
    at_threshold = colorize(np.array([[threshold]]), threshold=threshold)[0, 0].astype(int)
    assert np.abs(at_threshold - middle).max() <= 3
    ends = colorize(np.array([[0.0, 1.0]]), threshold=min(threshold, 0.97))
    assert (ends == colorize(np.array([[0.0, 1.0]]))).all()


def test_a_normal_picture_stays_as_it_is_under_the_overlay():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    nothing = np.zeros((20, 30), dtype=np.float32)
    everything = np.ones((20, 30), dtype=np.float32)
    assert (np.asarray(overlay(picture, nothing, threshold=0.4)) == picture).all()
    assert (np.asarray(overlay(picture, everything, opacity=0)) == picture).all()


def test_the_overlay_has_its_full_opacity_from_the_threshold_on():
    values = np.array([[0.1, 0.2, 0.4, 0.8]] * 8, dtype=np.float32).repeat(2, axis=1)
    shown = np.asarray(overlay(grey(8, 8, 0), values, opacity=1, threshold=0.4))[0, ::2]
    heat = colorize(values, threshold=0.4)[0, ::2]
    assert (shown[2:] == heat[2:]).all()
    share = brightness(shown[:2]) / brightness(heat[:2])
    np.testing.assert_allclose(share, [1 / 16, 1 / 4], atol=0.04)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK"])
def test_pictures_of_any_mode_can_be_drawn_on(mode):
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    image = (
        Image.fromarray(ramp.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(ramp).convert(mode)
    )
    shown = np.asarray(overlay(image, np.zeros((64, 64), dtype=np.float32))).astype(int)
    assert np.abs(shown - ramp[..., None]).max() <= 1


@pytest.mark.parametrize("background", [0.0, 0.5, 1.0])
def test_contours_stand_out_from_dark_and_light_pictures(background):
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    drawn = np.asarray(draw_contours(grey(40, 40, background), mask))
    changed = (drawn != round(background * 255)).any(axis=2)
    assert np.abs(brightness(drawn[changed]) - background * 255).max() > 100


def test_contours_lie_around_the_region_and_leave_it_visible():
    mask = spot(40, 40, 20, 20).astype(bool)
    drawn = np.asarray(draw_contours(grey(40, 40), mask, color=(255, 0, 0), width=3))
    assert (drawn[20, 20] == 128).all()
    for y, x in [(17, 20), (23, 20), (20, 17), (20, 23)]:
        assert (drawn[y, x] == (255, 0, 0)).all()
    assert (drawn[20, [10, 30]] == 128).all()


def test_contours_are_closed_at_the_edge_of_the_picture():
    drawn = np.asarray(draw_contours(grey(40, 50), np.ones((40, 50), dtype=bool), width=2))
    is_line = (drawn == CONTOUR).all(axis=2)
    assert is_line[:2].all() and is_line[-2:].all() and is_line[:, :2].all() and is_line[:, -2:].all()
    assert not is_line[2:-2, 2:-2].any()


def test_an_empty_mask_has_no_contour():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (np.asarray(draw_contours(picture, np.zeros((20, 30), dtype=bool))) == picture).all()


def test_drawing_leaves_its_arguments_alone():
    image = Image.fromarray(np.full((40, 40, 3), 90, dtype=np.uint8))
    anomaly_map = spot(40, 40, 20, 20)
    overlay(image, anomaly_map)
    draw_contours(image, anomaly_map > 0)
    panel(image, image, anomaly_map, anomaly_map > 0, VERDICT)
    assert (np.asarray(image) == 90).all()
    assert (anomaly_map == spot(40, 40, 20, 20)).all()


@pytest.mark.parametrize("size", [(64, 64), (300, 20), (20, 900), (8, 2000), (700, 500)])
@pytest.mark.parametrize(("tile_size", "title"), [(320, ""), (150, "a_long_name/" * 30 + "größe_検査.png")])
def test_nothing_in_a_panel_is_clipped(size, tile_size, title):
    anomaly_map = spot(*size, size[0] // 2, size[1] // 2)
    shown = np.asarray(
        panel(grey(*size), grey(64, 64), anomaly_map, anomaly_map > 0.4, VERDICT, title, tile_size=tile_size)
    )
    margin = tile_size // 64
    frame = np.ones(shown.shape[:2], dtype=bool)
    frame[margin:-margin, margin:-margin] = False
    assert (shown[frame] == BACKGROUND).all()


def test_a_single_pixel_of_a_large_picture_is_marked_in_the_panel():
    anomaly_map = spot(1500, 1500, 701, 333)
    shown = panel(grey(1500, 1500), grey(64, 64), anomaly_map, anomaly_map > 0.4, VERDICT)
    assert has_color(shown, CONTOUR)


def test_the_panel_tells_its_verdict_by_color_too():
    anomaly_map = spot(64, 64, 3, 3)
    normal = Verdict(False, 0.2, 0.431, 0.5, 0.01, 999)
    for verdict, color, other in ((VERDICT, DEFECTIVE, GOOD), (normal, GOOD, DEFECTIVE)):
        shown = panel(grey(64, 64), grey(64, 64), anomaly_map, anomaly_map > 2, verdict)
        assert has_color(shown, color) and not has_color(shown, other)


def test_the_panel_shows_what_the_pipeline_returns(tiny_pipeline, make_pictures):
    [picture] = make_pictures(1, side=90)
    output = tiny_pipeline(picture)
    verdict = Verdict(bool(output.is_anomalous[0]), float(output.score[0]), output.threshold)
    shown = panel(picture, output.reconstruction[0], output.anomaly_map[0], output.mask[0], verdict)
    assert shown.mode == "RGB" and shown.width > 4 * 320


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: colorize(np.zeros((8, 8)), "jet"), r"`colormap` is 'jet'; use one of inferno"),
        (lambda: colorize(np.zeros((8, 8, 3))), r"`anomaly_map` has shape \(8, 8, 3\); give \[H,W\]"),
        (lambda: colorize(np.full((8, 8), 7.0)), r"`anomaly_map` has values in 7..7"),
        (lambda: colorize(np.full((8, 8), np.nan)), r"`anomaly_map` has 64 NaN"),
        (lambda: overlay(grey(8, 9), np.zeros((9, 8))), r"`anomaly_map` has shape \(9, 8\).* is 8 x 9"),
        (lambda: overlay(grey(8, 8), np.zeros((8, 8)), opacity=2), r"`opacity` is 2; give a number in 0..1"),
        (lambda: draw_contours(grey(8, 8), np.zeros((8, 9), bool)), r"`mask` has shape \(8, 9\)"),
        (lambda: draw_contours(grey(8, 8), np.ones((8, 8), bool), width=0), r"`width` is 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_contour_has_no_inner_hole():
    mask = np.zeros((64, 64), dtype=bool)
    mask[16:48, 16:48] = True
    filled = np.asarray(draw_contours(grey(64, 64), mask))
    mask[28:36, 28:36] = False
    np.testing.assert_array_equal(np.asarray(draw_contours(grey(64, 64), mask)), filled)
