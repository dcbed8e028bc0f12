"""Large pictures: the same map as in one piece, whatever the batch, in bounded memory."""

import json

import numpy as np
import pytest

from diffusionad.cli.main import main
from diffusionad.images.tiling import Tiling
from diffusionad.inspection.large import inspect_large
from diffusionad.postprocessing.scoring import top_mean

tifffile = pytest.importorskip("tifffile", reason="the extra `large` is not installed")
pytest.importorskip("zarr", reason="the extra `large` is not installed")


@pytest.fixture(scope="module")
def scan(tmp_path_factory, make_pictures):
    """A tiled TIFF of 300 x 200 pixels."""
    path = tmp_path_factory.mktemp("scan") / "scan.tif"
    pixels = make_pictures(1, side=300)[0][:200]
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="zlib")
    return path, pixels


def test_the_map_and_score_are_those_of_the_picture_in_one_piece(fresh_pipeline, scan, tmp_path):
    path, pixels = scan
    before = dict(fresh_pipeline.config)
    found = inspect_large(fresh_pipeline, path, tmp_path / "map.tif", batch_size=3)
    assert dict(fresh_pipeline.config) == before and not fresh_pipeline.takes_blank
    with tifffile.TiffFile(tmp_path / "map.tif") as tiff:
        [series] = tiff.series
        assert tiff.pages[0].is_tiled and [level.shape for level in series.levels] == [(200, 300), (100, 150)]
        whole, half = (level.asarray() for level in series.levels)

    fresh_pipeline.configure(resize_mode="tile", shorter_side=None)
    expected = fresh_pipeline(pixels)
    np.testing.assert_allclose(whole, expected.anomaly_map[0], atol=1e-6)
    assert found.score == pytest.approx(expected.score[0], abs=1e-6)
    assert found.is_anomalous == (found.score > found.threshold)
    np.testing.assert_array_equal(half, whole.reshape(100, 2, 150, 2).max((1, 3)))


def test_the_batch_changes_no_bit(fresh_pipeline, scan, tmp_path):
    maps = []
    for batch_size in (1, 5):
        inspect_large(fresh_pipeline, scan[0], tmp_path / "map.tif", batch_size)
        maps.append(tifffile.imread(tmp_path / "map.tif", level=0))
    np.testing.assert_array_equal(*maps)


class Flat:
    """Networks that say 0.5 of every tile: a seam would be another value."""

    class config(dict):  # noqa: N801
        __getattr__ = dict.__getitem__

    takes_blank = False

    def __init__(self):
        self.config = self.config(
            roi=None, ignore_border=0, image_size=64, resize_mode="stretch", shorter_side=None,
            calibration=None, threshold=0.4, top_fraction=0.01,
        )  # fmt: skip

    def configure(self, **settings):
        self.config.update(settings)

    register_to_config = configure

    def __call__(self, tiles, batch_size):
        self.anomaly_map = [np.full(tile.shape[:2], 0.5, np.float32) for tile in tiles]
        return self


def test_there_are_no_seams_and_a_defect_is_found_where_it_is(tmp_path):
    pixels = np.zeros((333, 517), np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", pixels)
    found = inspect_large(Flat(), tmp_path / "grey.tif", tmp_path / "map.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "map.tif", level=0), np.float32(0.5))
    assert len(Tiling((333, 517), 64)) > 50
    assert (found.score, found.is_anomalous, found.size) == (0.5, True, (333, 517))
    assert found.regions[0].box == (0, 0, 518, 334) and found.step == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no TIFF", "is no TIFF"),
        (np.zeros((30, 90), np.uint8), "is 90 x 30 pixels; give 64 x 64 or more"),
        (np.zeros((3, 90, 90), np.uint8), "has the axes"),
    ],
)
def test_what_is_no_large_picture_is_refused_in_a_sentence(content, sentence, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(content) if isinstance(content, bytes) else tifffile.imwrite(
        path, content, photometric="minisblack" if content.ndim == 2 else "rgb"
    )
    with pytest.raises(ValueError, match=sentence):
        inspect_large(Flat(), path, tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


def test_top_values_of_rows_are_those_of_the_whole():
    from diffusionad.inspection.large import _Levels

    values = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    levels = _Levels(values.shape, 64 * 64, 0.02)
    list(levels.fed_by(iter([values[:40], values[40:41], values[41:]])))
    assert levels.score() == top_mean(values, 0.02, area=64 * 64)


def test_the_command_writes_map_and_result(tiny_model_folder, scan, tmp_path, capsys):
    arguments = ["--model", str(tiny_model_folder), "--output", str(tmp_path / "out"), "--threshold", "0"]
    assert main(["inspect-large", str(scan[0]), *arguments]) == 0
    assert capsys.readouterr().out.startswith("DEFECTIVE  0.")
    written = json.loads((tmp_path / "out/scan.tif.json").read_text())
    assert written["result"]["size"] == [200, 300] and written["settings"]["threshold"] == 0
    assert tifffile.imread(tmp_path / "out" / written["result"]["map"], level=0).shape == (200, 300)
