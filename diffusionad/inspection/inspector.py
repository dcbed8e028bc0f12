"""From files to results: read, inspect in batches, draw; one unreadable picture never stops the others."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffusionad.images.image_io import read_image
from diffusionad.inspection.panel import panel
from diffusionad.inspection.results import Result, Verdict, save_png, verdicts_of
from diffusionad.inspection.visualize import draw_contours, overlay

if TYPE_CHECKING:
    from diffusionad.pipeline import DiffusionADOutput, DiffusionADPipeline

MAX_BATCH_PIXELS = 32_000_000  # 384 MB as float32 RGB; larger batches of large pictures are split

OVERLAYS, PANELS = "overlays", "panels"  # folders under the output folder


class Inspector:
    """Files in, results out, one after the other: memory holds a single batch.

    Args:
        pipeline: with the settings that apply to all pictures.
        output: folder under which pictures are drawn.
        batch_size: pictures per network call on a GPU.
        overlays: draw heat map and contours over each picture, `overlays/NAME.png`, at its own size.
        panels: draw picture, reconstruction, heat map and overlay side by side, `panels/NAME.png`.
    """

    def __init__(
        self,
        pipeline: "DiffusionADPipeline",
        output: Path,
        batch_size: int = 8,
        overlays: bool = True,
        panels: bool = False,
    ):
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
            pictures = [picture for _, picture in batch if isinstance(picture, np.ndarray)]
            output = self.pipeline(pictures, batch_size=self.batch_size) if pictures else None
            verdicts = verdicts_of(output, self.pipeline.config.calibration) if output else []
            position = iter(range(len(pictures)))
            for file, picture in batch:
                if isinstance(picture, str):
                    yield Result(file, error=picture)
                    continue
                i = next(position)
                yield Result(
                    file=file,
                    verdict=verdicts[i],
                    regions=tuple(output.regions[i]),
                    known_marks=tuple(output.known_marks[i]),
                    seconds=round(output.timings["total"] / len(pictures), 4),
                    overlay=self._draw(file, root, picture, output, i, verdicts[i]),
                )

    def _draw(
        self,
        file: Path,
        root: Path,
        picture: np.ndarray,
        output: "DiffusionADOutput",
        i: int,
        verdict: Verdict,
    ) -> Path | None:
        """Where the overlay went; None without one."""
        name = png_name(Path(os.path.abspath(file)).relative_to(root))
        anomaly_map, mask = output.anomaly_map[i], output.mask[i]
        if self.panels:
            drawn = panel(picture, output.reconstruction[i], anomaly_map, mask, verdict, title=file.name)
            save_png(drawn, self.output / PANELS / name)
        if not self.overlays:
            return None
        blended = overlay(picture, anomaly_map, threshold=verdict.threshold)
        save_png(draw_contours(blended, mask), self.output / OVERLAYS / name)
        return self.output / OVERLAYS / name

    def _batches(self, files: Iterable[Path]) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
        """Files with their picture, [H,W,3] in [0,1], or with the reason why there is none."""
        batch, pixels = [], 0
        for file in files:
            picture = read_or_explain(file)
            batch.append((file, picture))
            pixels += 0 if isinstance(picture, str) else picture[..., 0].size
            if len(batch) == self.batch_size or pixels > MAX_BATCH_PIXELS:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch


def read_or_explain(file: Path) -> np.ndarray | str:
    """[H,W,3] float32 in [0, 1], or why the file cannot be read, in one line."""
    try:
        return read_image(file)
    except Exception as error:
        # Decoders raise nearly anything on damaged files, and one file must not stop the other thousands.
        return " ".join(str(error).split()) or type(error).__name__


def common_root(files: Iterable[Path]) -> Path:
    """The deepest folder that holds all files, absolute."""
    return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files]))


def png_name(relative: Path) -> Path:
    """`a/x.png` for `a/x.png`, but `a/x.jpg.png` for `a/x.jpg`: no two pictures share a name."""
    is_unambiguous = relative.suffix == ".png" and "." not in relative.stem
    return relative if is_unambiguous else relative.with_name(f"{relative.name}.png")
