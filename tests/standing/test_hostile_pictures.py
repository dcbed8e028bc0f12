"""Whatever a file holds, reading it ends as a picture or as one sentence that names it."""

import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from standing.hostile_pictures import bomb, write
from standing.soak import report, times

from diffusionad.images.image_io import ImageError, read_image
from diffusionad.images.tiling import Tiling

MEMORY_MIB, SECONDS = 64, 5  # for any small file, whatever its header promises


def read(path: Path) -> str:
    """Return "read" or "refused"; fail on any other end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        try:
            picture = read_image(path)
        except ImageError as error:
            assert str(path) in str(error) and "\n" not in str(error), error
            return "refused"
    assert picture.dtype == np.float32 and picture.ndim == 3 and picture.shape[2] == 3
    assert np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1
    return "read"


def test_every_picture_is_read_or_refused_in_one_sentence(tmp_path):
    outcomes = {}
    for path in write(tmp_path, cuts=times(8, 400), flips=times(8, 4000)):
        started = time.monotonic()
        outcomes[path.name] = read(path)
        assert time.monotonic() - started < SECONDS, path.name
    assert len(outcomes) > 200
    assert all(outcome == "refused" for name, outcome in outcomes.items() if name.startswith("bomb"))
    report("hostile pictures", files=len(outcomes), **Counter(outcomes.values()))
    assert all(outcomes[f"exif-{number}.jpg"] == "read" for number in range(1, 9))


def test_a_bomb_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000, 20_000))
    tracemalloc.start()
    try:
        assert read(path) == "refused"
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MIB * 2**20
    finally:
        tracemalloc.stop()


@settings(
    max_examples=times(60, 20_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    head=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF", b"P6 "]),
    tail=st.binary(max_size=300),
)
@example(head=b"P6 ", tail=b"9 9 255\n")
def test_any_bytes_after_a_known_beginning_are_read_or_refused(head, tail, tmp_path):
    path = tmp_path / "any.png"
    path.write_bytes(head + tail)
    read(path)


@settings(max_examples=times(25, 2000), deadline=None)
@given(height=st.integers(8, 150), width=st.integers(8, 150), side=st.sampled_from([16, 32, 64]))
def test_the_weights_of_tiles_sum_to_one_at_every_pixel(height, width, side):
    size = (max(height, side), max(width, side))
    tiling = Tiling(size, side)
    total = np.zeros(size)
    for index in range(len(tiling)):
        total[tiling.window(index)] += tiling.weight(index)
    assert (total == 1).all()
