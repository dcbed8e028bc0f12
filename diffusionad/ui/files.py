"""Pictures between the visitor and the model: uploads in, examples and previews out."""

from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache, save_file_to_cache
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from diffusionad.ui.errors import in_one_sentence
from diffusionad.ui.inspected import Inspected, inspect_picture
from diffusionad.ui.models import Model

NOT_FOR_BROWSERS = (".tif", ".tiff", ".pgm", ".ppm")

Upload = dict[str, Any]  # a file as Gradio passes it on: `path` on the server, `orig_name` at the visitor's


def inspect_upload(model: Model, upload: Upload | None, **arguments: Any) -> Inspected:
    """`inspect_picture` on an uploaded picture.

    The file is taken as it came: Gradio's own reading ends in Gradio's own error messages, and writes some
    formats anew.

    Raises:
        gr.Error: whatever went wrong, in one sentence.
    """
    with in_one_sentence():
        path = _path_of(upload)
        if path is None:
            raise ValueError("Choose a picture first: upload or paste one, or click an example.")
        with in_one_sentence(path, upload.get("orig_name") or "the picture"):
            return inspect_picture(model, path, **arguments)


def _path_of(upload: Upload | None) -> str | None:
    """Path of an upload that is one: Gradio lets a program name any other file of the server's."""
    path = upload.get("path") if upload else None
    if path and not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("The picture has to be uploaded.")
    return path


def served(path: Path) -> str:
    """Path of a copy that Gradio may show, wherever the model's folder is."""
    return save_file_to_cache(path, get_upload_folder())


def viewable(upload: Upload | None) -> Any:
    """A PNG of the same pixels where the upload is of a kind that browsers do not show; else no change."""
    with in_one_sentence():
        path = Path(_path_of(upload) or "")
    if path.suffix.lower() not in NOT_FOR_BROWSERS:
        return gr.skip()
    try:
        with Image.open(path) as image:
            png = BytesIO()
            ImageOps.exif_transpose(image).save(png, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return gr.skip()  # the inspection will say what is wrong with it
    return save_bytes_to_cache(png.getvalue(), f"{path.stem}.png", get_upload_folder())


def caption(example: Path) -> str:
    """`broken thread` for `broken_thread_003.png`."""
    return example.stem.rstrip("0123456789").strip("_").replace("_", " ") or example.stem
