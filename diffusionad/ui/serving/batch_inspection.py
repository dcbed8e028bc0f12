"""Many pictures through one model: row by row, then as files to download."""

import base64
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from diffusionad.inspection.inspector import OVERLAYS, png_name
from diffusionad.inspection.results import Result, ResultWriter, header, save_png
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.large_pictures import turn_for
from diffusionad.ui.serving.model_registry import Model
from diffusionad.ui.serving.uploads import UploadedPicture

GPU_WORKERS = 8  # pictures that may share a call
THUMBNAIL_SIDE = 120  # pixels; shown at half of it, sharp on dense displays
OVERLAYS_ZIP = "overlays.zip"


@dataclass(frozen=True)
class Row:
    """One picture of a batch.

    Attributes:
        result: names the file as the user does, and its overlay relative to the download.
        path: of the picture on the server; None when it could not be read.
        peak: of its anomaly map, in [0, 1]; 0 when it could not be read.
        thumbnail: its overlay, small, as a data URI; empty when it could not be read.
        appearance: float64 [K], statistics of the whole picture; None when it could not be read.
    """

    result: Result
    path: Path | None = None
    peak: float = 0.0
    thumbnail: str = ""
    appearance: np.ndarray | None = None


def inspect_batch(
    model: Model, pictures: Sequence[UploadedPicture], output: Path, **arguments: Any
) -> Iterator[Row]:
    """Inspect pictures; requests of other users run in between.

    Args:
        model: loaded.
        pictures: to inspect.
        output: folder where `overlays/` are written.
        arguments: of `inspect_picture`.

    Yields:
        A row for each picture, in their order.
    """
    # Several at once only where they can share a call.
    workers = ThreadPoolExecutor(1 if model.device == "CPU" else GPU_WORKERS)
    try:
        yield from workers.map(partial(_inspect, model, output, arguments), pictures)
    finally:
        workers.shutdown(wait=False, cancel_futures=True)  # when the user has stopped it


def _inspect(model: Model, output: Path, arguments: dict[str, Any], picture: UploadedPicture) -> Row:
    file = Path(picture.name)
    if picture.path is None or picture.relative_path is None:
        return Row(Result(file, error=picture.error))
    try:
        with user_errors(picture.path, picture.name), turn_for(picture.path):
            inspection = inspect_picture(model, str(picture.path), **arguments)
            overlay = inspection.draw()
    except gr.Error as error:
        return Row(Result(file, error=error.message))
    relative = Path(OVERLAYS) / png_name(picture.relative_path)
    save_png(overlay, output / relative)
    result = Result(
        file=file,
        verdict=inspection.verdict,
        regions=tuple(inspection.regions),
        known_marks=inspection.known_marks,
        seconds=round(inspection.seconds, 4),
        overlay=relative,
    )
    peak = float(inspection.anomaly_map.max())
    return Row(result, picture.path, peak, _thumbnail(overlay), inspection.appearance)


def _thumbnail(overlay: Image.Image) -> str:
    overlay.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    jpeg = BytesIO()
    overlay.save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def export_results(model: Model, rows: Sequence[Row], output: Path) -> tuple[Path, Path]:
    """Write `results.csv`, and a ZIP archive of the overlays with `results.csv` and `results.json`.

    Args:
        model: that made the rows.
        rows: at least one.
        output: as given to `inspect_batch`.

    Returns:
        The paths of both.
    """
    with ResultWriter(output, header(model.pipeline, model.name), len(rows)) as writer:
        for row in rows:
            writer.add(row.result)
    csv, json = writer.paths
    overlays = [output / row.result.overlay for row in rows if row.result.overlay]
    with zipfile.ZipFile(output / OVERLAYS_ZIP, "w") as archive:  # not compressed: PNGs are
        for path in [csv, json, *overlays]:
            archive.write(path, path.relative_to(output))
    return csv, output / OVERLAYS_ZIP
