"""Temporary files: below a folder of this process's own, which goes away with it."""

import os
import tempfile
from functools import cache
from pathlib import Path

GRADIOS_VARIABLE = "GRADIO_TEMP_DIR"


@cache
def _root() -> tempfile.TemporaryDirectory:
    """Goes away with the process, and all visitors' files with it."""
    elsewhere = os.environ.get(GRADIOS_VARIABLE)
    if elsewhere:
        Path(elsewhere).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="diffusionad-", dir=elsewhere)


def keep_gradios_files_apart() -> None:
    """Give Gradio a folder that no other process has; to be called before components are made.

    Gradio names its files by their contents, the same for all apps of one installation. In a folder that two
    of them share, one removes at its end, and rewrites in place, what visitors of the other one look at.
    """
    folder = Path(_root().name, "gradio")
    folder.mkdir(exist_ok=True)
    os.environ[GRADIOS_VARIABLE] = str(folder)


def new_folder() -> Path:
    """A folder for one visitor's files; whoever asks for it removes it when the visitor has left."""
    return Path(tempfile.mkdtemp(dir=_root().name))
