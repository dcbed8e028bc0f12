"""Pictures as a stream: decoding, networks and drawing overlap, the order is kept, memory is bounded."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diffusionad.files import file_sha256
from diffusionad.images.image_io import ImageSource, read_image
from diffusionad.picture_result import PictureResult

MAX_BATCH_PIXELS = 32_000_000  # 384 MB as float32 RGB; larger batches of large pictures are split
MAX_THREADS = 4  # that decode or draw beside a GPU

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, eq=False)
class Streamed:
    """One picture of a stream: its result, or why there is none.

    Attributes:
        source: as it was given.
        result: None when the picture could not be inspected.
        error: why it could not be inspected; None when it could.
        seconds: of the networks and the scoring, the picture's share of its batch.
        sha256: of its file; None for what is no file, or cannot be read.
    """

    source: ImageSource
    result: PictureResult | None = None
    error: str | None = None
    seconds: float | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class _Read:
    source: ImageSource
    picture: Any = None  # as the pipeline takes it
    error: str | None = None
    sha256: str | None = None


class Streaming:
    """A pipeline that takes pictures as they come."""

    device: Any
    config: Any

    def stream(self, images: Iterable[ImageSource], batch_size: int = 8) -> Iterator[Streamed]:
        """Inspect any number of pictures, one after the other.

        While the networks look at a batch, a thread reads the next. Memory holds two batches. A picture that
        cannot be inspected is an error among the results and stops no other.

        Args:
            images: paths, PIL images, arrays or tensors, as a call takes them; it may never end.
            batch_size: pictures per network call on a GPU. On a CPU it is one, as nothing is gained by more.

        Yields:
            A result per picture, in their order.
        """
        size = batch_size if self.device.type != "cpu" else 1
        threads = min(size, MAX_THREADS)
        for batch in _batches(in_order(self._read, images, threads, ahead=size), size):
            looked_at = self._look_at([read for read in batch if read.error is None], size)
            for read in batch:
                if read.error is None:
                    yield next(looked_at)
                else:
                    yield Streamed(read.source, error=read.error, sha256=read.sha256)

    def _read(self, source: ImageSource) -> _Read:
        if not isinstance(source, str | os.PathLike):
            return _Read(source, picture=source)
        file = Path(source)
        try:
            sha256 = file_sha256(file) if file.is_file() else None  # a pipe would never end
        except OSError:
            sha256 = None  # reading it says why
        picture = read_or_explain(file, self.config.bit_depth)
        if isinstance(picture, str):
            return _Read(source, error=picture, sha256=sha256)
        return _Read(source, picture, sha256=sha256)

    def _look_at(self, batch: Sequence[_Read], batch_size: int) -> Iterator[Streamed]:
        """Yield a result per picture; where a batch fails, each of its pictures is tried alone."""
        if not batch:
            return
        try:
            output = self([read.picture for read in batch], batch_size=batch_size)  # type: ignore[operator]
        except (ValueError, RuntimeError, MemoryError) as error:
            if is_lost_device(error):
                raise
            failure = error
        else:
            seconds = round(output.timings["total"] / len(batch), 4)
            for i, read in enumerate(batch):
                yield Streamed(read.source, output[i], seconds=seconds, sha256=read.sha256)
            return
        if len(batch) == 1:
            [read] = batch
            yield Streamed(read.source, error=explain(failure, read.source), sha256=read.sha256)
        else:
            for read in batch:
                yield from self._look_at([read], batch_size)


def in_order(work: Callable[[In], Out], items: Iterable[In], threads: int, ahead: int) -> Iterator[Out]:
    """Yield `work(item)` for each item, in their order, while threads work on the items that follow.

    Args:
        work: called in a thread; its error is raised where its result would come.
        items: taken one by one, no more than `ahead` before their turn.
        threads: number of threads.
        ahead: number of items that may be worked on, or wait as results.
    """
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                while waiting and (len(waiting) > ahead or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(pictures: Iterable[_Read], size: int) -> Iterator[list[_Read]]:
    batch: list[_Read] = []
    pixels = 0
    for read in pictures:
        batch.append(read)
        pixels += read.picture[..., 0].size if isinstance(read.picture, np.ndarray) else 0
        if len(batch) == size or pixels > MAX_BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def read_or_explain(file: Path, bit_depth: int | None) -> np.ndarray | str:
    """Read a picture, [H,W,3] float32 in [0, 1], or return in one line why it cannot be read."""
    try:
        return read_image(file, bit_depth=bit_depth)
    except Exception as error:
        # Decoders raise nearly anything on damaged files, and one file must not stop the other thousands.
        return explain(error, file)


def explain(error: Exception, source: ImageSource) -> str:
    """Return in one line why a picture cannot be inspected; it is named by its file, not by its place."""
    name = f"`{source}`" if isinstance(source, str | os.PathLike) else "the picture"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return f"{name} needs more memory than there is; shrink it first."
    return " ".join(str(error).replace("`image[0]`", name).split()) or type(error).__name__


def is_lost_device(error: Exception) -> bool:
    """Whether no later picture can be inspected in this process either: the GPU gave up."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)
