"""What `inspect` and `watch` share: the options of the drawings, and checks before torch is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import CannotRun, one_line


def drawing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare `--batch-size`, `--panels` and `--no-overlays`."""
    batch_size = click.option(
        "--batch-size", type=int, default=8, metavar="N", help="Pictures at a time, on a GPU (8)."
    )
    panels = click.option("--panels", is_flag=True, help="Also draw side-by-side pictures.")
    no_overlays = click.option("--no-overlays", is_flag=True, help="Draw no overlays.")
    return batch_size(panels(no_overlays(command)))


def check_drawing(batch_size: int, roi: str | None) -> None:
    """Check the batch size, and that the picture of a region of interest can be read.

    Raises:
        CannotRun: otherwise.
    """
    from diffusionad.images.image_io import ImageError, read_image

    if batch_size < 1:
        raise CannotRun(f"--batch-size is {batch_size}; give at least 1.")
    try:
        if roi is not None:
            read_image(roi, bit_depth=16)  # for its errors
    except (ImageError, OSError) as error:
        raise CannotRun(one_line(error)) from error


def make_output(folder: Path) -> None:
    """Make the folder for results.

    Raises:
        CannotRun: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"--output: `{folder}` cannot be made a folder ({error.strerror}).") from error
