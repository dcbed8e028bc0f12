"""From files to results: streamed through the model, drawn; one picture's failure never stops the others."""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionad.inspection.results import Result, save_png
from diffusionad.streaming import MAX_THREADS, Streamed, explain, in_order

if TYPE_CHECKING:
    from diffusionad.picture_result import PictureResult
    from diffusionad.pipeline import DiffusionADPipeline

OVERLAYS, PANELS = "overlays", "panels"  # folders under the output folder

# A drawing fails like this because of its picture's name; a full disk fails for all pictures.
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


class Inspector:
    """Inspect files in their order; files are read and drawn while the networks run.

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
        self.batch_size = batch_size
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
        threads = 1 if self.pipeline.device.type == "cpu" else MAX_THREADS
        streamed = self.pipeline.stream(files, self.batch_size)
        return in_order(lambda one: self._result(one, root), streamed, threads, ahead=threads)

    def _result(self, one: Streamed, root: Path) -> Result:
        """Draw a picture, and return what results say of it."""
        file = Path(str(one.source))
        if one.result is None:
            return Result(file, error=one.error, picture_sha256=one.sha256)
        try:
            drawn = self._draw(file, root, one.result)
        except (OSError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno not in _BAD_NAME:
                raise
            reason = f"it cannot be drawn: {explain(error, file)}"
            return Result(file, error=reason, picture_sha256=one.sha256)
        return Result(
            file=file,
            verdict=one.result.verdict,
            regions=tuple(one.result.regions),
            known_marks=tuple(one.result.known_marks),
            seconds=one.seconds,
            overlay=drawn,
            picture_sha256=one.sha256,
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


def common_root(files: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all files, absolute."""
    return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files]))


def png_name(relative: Path) -> Path:
    """Return `a/x.png` for `a/x.png`, but `a/x.jpg.png` for `a/x.jpg`: no two pictures share a name."""
    is_unambiguous = relative.suffix == ".png" and "." not in relative.stem
    return relative if is_unambiguous else relative.with_name(f"{relative.name}.png")
