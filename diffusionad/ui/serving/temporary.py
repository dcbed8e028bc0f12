"""Temporary files, in a folder of this process that is removed when it ends."""

import os
import tempfile
from functools import cache
from pathlib import Path

GRADIO_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    """Return the folder that is removed with the process, and all users' files with it."""
    parent = os.environ.get(GRADIO_FOLDER_VARIABLE)
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="diffusionad-", dir=parent)


def isolate_gradio_files() -> None:
    """Give Gradio a folder that no other process uses. Call it before components are made.

    Gradio names its files by their contents, the same for all apps of one installation. If two apps share a
    folder, one removes at its end, and rewrites in place, files that the other one still serves.
    """
    folder = Path(_root().name, "gradio")
    folder.mkdir(exist_ok=True)
    os.environ[GRADIO_FOLDER_VARIABLE] = str(folder)


def new_folder() -> Path:
    """Make a folder for one user's files; the caller removes it."""
    return Path(tempfile.mkdtemp(dir=_root().name))
