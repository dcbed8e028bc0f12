"""Pictures between the browser and the model: uploads in, examples and previews out."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from gradio_client import utils as client_utils
from PIL import Image, ImageOps

from diffusionad.images.image_io import IMAGE_FORMATS, read_image
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.inspection_state import Inspection, inspect_picture
from diffusionad.ui.serving.large_pictures import turn_for
from diffusionad.ui.serving.model_registry import Model

MAX_PNG_PIXELS = 500_000
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
NOT_FOR_BROWSERS = (".tif", ".tiff", ".pgm", ".ppm")

Upload = dict[str, Any]  # a file as Gradio passes it on: `path` on the server, `orig_name` on the user's disk


def inspect_upload(model: Model, upload: Upload | None, **arguments: Any) -> Inspection:
    """Inspect an uploaded picture.

    The file is read as it came: Gradio's own reading ends in Gradio's own error messages, and converts some
    formats.

    Args:
        model: loaded.
        upload: None where the user has chosen none.
        arguments: of `inspect_picture`.

    Raises:
        gr.Error: anything went wrong, in one sentence.
    """
    with checked_upload(upload) as path:
        return inspect_picture(model, path, **arguments)


def read_upload(upload: Upload | None, bit_depth: int | None) -> np.ndarray:
    """Return an uploaded picture, [H,W,3] in [0, 1]; raise the errors of `inspect_upload`."""
    with checked_upload(upload) as path:
        return read_image(path, bit_depth=bit_depth)


@contextmanager
def checked_upload(upload: Upload | None) -> Iterator[str]:
    """Yield the path of an upload when it is its turn; errors inside name the file as the user knows it."""
    with user_errors():
        path = upload_path(upload)
        if upload is None or path is None:
            raise ValueError("Choose a picture first: upload or paste one, or click an example.")
        with user_errors(path, upload.get("orig_name") or "the picture"), turn_for(path):
            yield path


def upload_path(upload: Upload | None) -> str | None:
    """Return the path of an upload, None without one.

    Raises:
        ValueError: it was not uploaded, or is a folder. Gradio lets a program name any file of the server.
    """
    path = upload.get("path") if upload else None
    if path and (
        Path(path).is_dir() or not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    ):
        raise ValueError("The picture has to be uploaded.")
    return path


def check_event_files(inputs: Any) -> None:
    """Refuse what is no regular file among the uploads that an event names, before Gradio notes it down.

    Gradio's clean-up stops for good at a folder, or at a name that the disk cannot hold. Files outside its
    own folder are left to Gradio, which refuses them all in the same words.

    Args:
        inputs: of the event, as they came from the browser.

    Raises:
        gr.Error: a folder of the uploads, or a name that no file can have.
        FileNotFoundError: an upload that is no longer kept, or never was.
    """
    if isinstance(inputs, dict):
        path = inputs.get("path")
        if isinstance(path, str) and not path.lower().startswith(("http://", "https://")):
            _check_event_file(os.path.abspath(path))
        inputs = list(inputs.values())
    if isinstance(inputs, list | tuple):
        for value in inputs:
            check_event_files(value)


def _check_event_file(path: str) -> None:
    folder = os.path.abspath(get_upload_folder())
    if os.path.commonpath([folder, path]) != folder:
        return
    try:
        is_file = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise gr.Error("This is no uploaded file; upload the pictures themselves.", print_exception=False)


def serve_file(path: Path) -> str:
    """Copy a file to where Gradio may serve it, and return the path of the copy."""
    return save_file_to_cache(path, get_upload_folder())


def serve_bytes(data: bytes, name: str) -> str:
    """Write a file where Gradio may serve it, and return its path.

    The file is whole or absent: Gradio's own writing would cut off the downloads of another user with the
    same picture. Two users may write the same file at once, so each partial file has a name of its own.

    Args:
        data: contents of the file.
        name: of the file as the browser saves it.
    """
    folder = Path(get_upload_folder(), sha256(data).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / client_utils.strip_invalid_filename_characters(name)
    if path.exists():
        path.touch()  # the clean-up removes old files
    else:
        partial = folder / f"{uuid4().hex}.partial"
        partial.write_bytes(data)
        partial.replace(path)
    return str(path.resolve())


def serve_image(image: Image.Image, name: str = "picture") -> str:
    """Write a drawn picture where Gradio may serve it: JPEG where a PNG would delay the redraw, else PNG."""
    if image.mode != "RGB" or image.width * image.height <= MAX_PNG_PIXELS:
        return serve_bytes(png_bytes(image), f"{name}.png")
    file = BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return serve_bytes(file.getvalue(), f"{name}.jpg")


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    file = BytesIO()
    # Level 1 is several times faster than the default, for files a little larger.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def convert_for_browser(upload: Upload | None) -> Any:
    """Return the path of a PNG with the same pixels if browsers cannot show the upload, else `gr.skip()`."""
    with user_errors():
        path = Path(upload_path(upload) or "")
    if path.suffix.lower() not in NOT_FOR_BROWSERS:
        return gr.skip()
    try:
        with turn_for(path), Image.open(path, formats=IMAGE_FORMATS) as image:
            png = png_bytes(ImageOps.exif_transpose(image))
    except UNREADABLE:
        return gr.skip()  # the inspection reports what is wrong with it
    return serve_bytes(png, f"{path.stem}.png")


def is_picture(upload: Upload | None) -> bool:
    """Return whether an upload is a whole picture, which a browser may show."""
    with user_errors():
        path = upload_path(upload) or ""
    try:
        with turn_for(path), Image.open(path, formats=IMAGE_FORMATS) as image:
            image.load()
    except UNREADABLE:
        return False
    return True


def example_caption(example: Path) -> str:
    """Return the caption of an example picture: `broken thread` for `broken_thread_003.png`."""
    return example.stem.rstrip("0123456789").strip("_").replace("_", " ") or example.stem
