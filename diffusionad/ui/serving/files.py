"""Pictures between the visitor and the model: uploads in, examples and previews out."""

import os
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

from diffusionad.images.image_io import read_image
from diffusionad.ui.serving.errors import in_one_sentence
from diffusionad.ui.serving.inspection_state import Inspected, inspect_picture
from diffusionad.ui.serving.model_registry import Model

MAX_PNG_PIXELS = 500_000
NOT_FOR_BROWSERS = (".tif", ".tiff", ".pgm", ".ppm")

Upload = dict[str, Any]  # a file as Gradio passes it on: `path` on the server, `orig_name` at the visitor's


def inspect_upload(model: Model, upload: Upload | None, **arguments: Any) -> Inspected:
    """`inspect_picture` on an uploaded picture.

    The file is taken as it came: Gradio's own reading ends in Gradio's own error messages, and writes some
    formats anew.

    Raises:
        gr.Error: whatever went wrong, in one sentence.
    """
    with uploaded(upload) as path:
        return inspect_picture(model, path, **arguments)


def read_upload(upload: Upload | None) -> np.ndarray:
    """An uploaded picture, [H,W,3] in [0, 1]; the errors are those of `inspect_upload`."""
    with uploaded(upload) as path:
        return read_image(path)


@contextmanager
def uploaded(upload: Upload | None) -> Iterator[str]:
    """Path of an upload; what goes wrong with it is told under the name that it has at the visitor's."""
    with in_one_sentence():
        path = uploaded_path(upload)
        if path is None:
            raise ValueError("Choose a picture first: upload or paste one, or click an example.")
        with in_one_sentence(path, upload.get("orig_name") or "the picture"):
            yield path


def uploaded_path(upload: Upload | None) -> str | None:
    """Path of an upload that is one: Gradio lets a program name any other file of the server's."""
    path = upload.get("path") if upload else None
    if path and not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("The picture has to be uploaded.")
    return path


def served(path: Path) -> str:
    """Path of a copy that Gradio may show, wherever the model's folder is."""
    return save_file_to_cache(path, get_upload_folder())


def written(data: bytes, name: str) -> str:
    """Path of a new file that Gradio may show or hand out.

    It is there whole or not at all: Gradio's own writing would cut off the downloads of another visitor with
    the same picture.
    """
    folder = Path(get_upload_folder(), sha256(data).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / client_utils.strip_invalid_filename_characters(name)
    if path.exists():
        path.touch()  # young again, for those who clear up
    else:
        partial = folder / f"{uuid4().hex}.partial"
        partial.write_bytes(data)
        os.replace(partial, path)
    return str(path.resolve())


def png_bytes(image: Image.Image) -> bytes:
    """Level 1 is several times faster than the default, for files a little larger."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def shown(image: Image.Image, name: str = "picture") -> str:
    """Path of a drawn picture: PNG, or JPEG where a PNG would take longer than a redraw may."""
    if image.mode != "RGB" or image.width * image.height <= MAX_PNG_PIXELS:
        return written(png_bytes(image), f"{name}.png")
    file = BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return written(file.getvalue(), f"{name}.jpg")


def viewable(upload: Upload | None) -> Any:
    """A PNG of the same pixels where the upload is of a kind that browsers do not show; else no change."""
    with in_one_sentence():
        path = Path(uploaded_path(upload) or "")
    if path.suffix.lower() not in NOT_FOR_BROWSERS:
        return gr.skip()
    try:
        with Image.open(path) as image:
            png = png_bytes(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return gr.skip()  # the inspection will say what is wrong with it
    return written(png, f"{path.stem}.png")


def caption(example: Path) -> str:
    """`broken thread` for `broken_thread_003.png`."""
    return example.stem.rstrip("0123456789").strip("_").replace("_", " ") or example.stem
