"""Streams of pictures: order, bounded memory, work that overlaps, errors as results."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad.streaming import in_order


@pytest.fixture
def files(tmp_path: Path, make_pictures) -> list[Path]:
    """Four pictures, the third broken."""
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file, pixels in zip(files, make_pictures(4), strict=True):
        Image.fromarray(pixels).save(file)
    files[2].write_bytes(b"no picture")
    return files


def test_a_stream_gives_the_results_of_single_calls_in_order_and_errors_in_place(tiny_pipeline, files):
    array = np.asarray(Image.open(files[0]))
    streamed = list(tiny_pipeline.stream([*files, array, tmp := files[0].with_name("missing.png")]))
    assert [one.source for one in streamed[:4]] == files and streamed[5].source == tmp
    assert [one.error is None for one in streamed] == [True, True, False, True, True, False]
    assert "no picture that Pillow can read" in streamed[2].error and "does not exist" in streamed[5].error
    for i in (0, 1, 3):
        assert streamed[i].result.score == tiny_pipeline(files[i]).score[0]
    assert streamed[4].result.score == streamed[0].result.score
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [one.sha256 for one in streamed] == [*digests, None, None]


def test_an_endless_stream_is_read_no_further_than_a_batch_ahead(tiny_pipeline, files):
    taken = []

    def endless():
        while True:
            taken.append(files[0])
            yield files[0]

    stream = tiny_pipeline.stream(endless())
    for n in range(1, 4):
        next(stream)
        assert len(taken) <= n + 2
    stream.close()


def test_results_keep_their_order_whatever_finishes_first():
    second_is_done = threading.Event()

    def work(i):
        if i == 0:
            assert second_is_done.wait(30)  # the second overtakes
        elif i == 1:
            second_is_done.set()
        return i

    assert list(in_order(work, range(4), threads=2, ahead=2)) == [0, 1, 2, 3]


def test_an_error_comes_where_its_result_would_and_ends_the_stream():
    results = in_order(lambda i: 1 / (i - 2), range(5), threads=2, ahead=3)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
