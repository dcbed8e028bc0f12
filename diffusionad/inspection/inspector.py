"""From files to results: read, inspect in batches, draw; one picture's failure never stops the others."""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionad.images.image_io import read_image
from diffusionad.inspection.results import Result, save_png

if TYPE_CHECKING:
    from diffusionad.picture_result import PictureResult
    from diffusionad.pipeline import DiffusionADOutput, DiffusionADPipeline

MAX_BATCH_PIXELS = 32_000_000  # 384 MB as float32 RGB; larger batches of large pictures are split

OVERLAYS, PANELS = "overlays", "panels"  # folders under the output folder

# A drawing fails like this because of its picture's name; a full disk fails for all pictures.
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


class Inspector:
    """Inspect files one after the other; memory holds a single batch.

    Args:
        pipeline: with the settings that apply to all pictures.
        output: folder under which pictures are drawn.
        batch_size: pictures per network call on a GPU.
        overlays: draw heat map and contours over each picture, `overlays/NAME.png`, at its own size.
        panels: draw picture, repaired part, heat map and overlay side by side, `panels/NAME.png`.

    Raises:
        ValueError: the settings leave no pixel to look at, in whatever picture.
    """

    def __init__(
        self,
        pipeline: "DiffusionADPipeline",
        output: Path,
        batch_size: int = 8,
        overlays: bool = True,
        panels: bool = False,
    ):
        if pipeline.config.resize_mode == "stretch":  # all pictures come to one size, and fail alike
            pipeline.region_of_interest((pipeline.config.image_size, pipeline.config.image_size))
        self.pipeline = pipeline
        self.output = output
        # On a CPU the pipeline takes pictures one by one anyway: singles keep memory low and Ctrl-C swift.
        self.batch_size = batch_size if pipeline.device.type != "cpu" else 1
        self.overlays = overlays
        self.panels = panels

    def __call__(self, files: Sequence[Path], root: Path) -> Iterator[Result]:
        """Inspect files.

        Args:
            files: pictures below `root`.
            root: absolute; the drawn pictures keep the folders below it.

        Yields:
            A result per file, in their order.
        """
        for batch in self._batches(files):
            readable = [(file, picture) for file, picture in batch if isinstance(picture, np.ndarray)]
            results = self._inspect(readable, root)
            for file, picture in batch:
                yield Result(file, error=picture) if isinstance(picture, str) else next(results)

    def _inspect(self, batch: list[tuple[Path, np.ndarray]], root: Path) -> Iterator[Result]:
        """Yield a result per picture; where a batch fails, each of its pictures is tried alone."""
        if not batch:
            return
        try:
            output = self.pipeline([picture for _, picture in batch], batch_size=self.batch_size)
        except (ValueError, RuntimeError, MemoryError) as error:
            if is_lost_device(error):
                raise
            failure = error
        else:
            yield from self._results(batch, output, root)
            return
        if len(batch) == 1:
            yield Result(batch[0][0], error=explain(failure, batch[0][0]))
        else:
            for single in batch:
                yield from self._inspect([single], root)

    def _results(
        self, batch: list[tuple[Path, np.ndarray]], output: "DiffusionADOutput", root: Path
    ) -> Iterator[Result]:
        """Yield a result per picture; each is drawn when its turn comes."""
        for i, (file, _) in enumerate(batch):
            try:
                drawn = self._draw(file, root, output[i])
            except (OSError, ValueError, MemoryError) as error:
                if isinstance(error, OSError) and error.errno not in _BAD_NAME:
                    raise
                yield Result(file, error=f"it cannot be drawn: {explain(error, file)}")
                continue
            yield Result(
                file=file,
                verdict=output[i].verdict,
                regions=tuple(output.regions[i]),
                known_marks=tuple(output.known_marks[i]),
                seconds=round(output.timings["total"] / len(batch), 4),
                overlay=drawn,
            )

    def _draw(self, file: Path, root: Path, result: "PictureResult") -> Path | None:
        """Draw a picture's panel and overlay; return the overlay's place, None without one."""
        name = png_name(Path(os.path.abspath(file)).relative_to(root))
        if self.panels:
            save_png(result.panel(title=file.name), self.output / PANELS / name)
        if not self.overlays:
            return None
        save_png(result.overlay(), self.output / OVERLAYS / name)
        return self.output / OVERLAYS / name

    def _batches(self, files: Iterable[Path]) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
        """Yield files with their picture, [H,W,3] in [0,1], or with the reason why there is none."""
        batch: list[tuple[Path, np.ndarray | str]] = []
        pixels = 0
        for file in files:
            picture = read_or_explain(file, self.pipeline.config.bit_depth)
            batch.append((file, picture))
            pixels += 0 if isinstance(picture, str) else picture[..., 0].size
            if len(batch) == self.batch_size or pixels > MAX_BATCH_PIXELS:
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


def explain(error: Exception, file: Path) -> str:
    """Return in one line why a picture cannot be inspected; it is named by its file, not by its place."""
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return f"`{file}` needs more memory than there is; shrink it first."
    return " ".join(str(error).replace("`image[0]`", f"`{file}`").split()) or type(error).__name__


def is_lost_device(error: Exception) -> bool:
    """Whether no later picture can be inspected in this process either: the GPU gave up."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def common_root(files: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all files, absolute."""
    return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files]))


def png_name(relative: Path) -> Path:
    """Return `a/x.png` for `a/x.png`, but `a/x.jpg.png` for `a/x.jpg`: no two pictures share a name."""
    is_unambiguous = relative.suffix == ".png" and "." not in relative.stem
    return relative if is_unambiguous else relative.with_name(f"{relative.name}.png")
