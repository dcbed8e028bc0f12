"""Temporary files, in a folder of this process that is removed when it ends, or else by the next one."""

import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

GRADIO_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
PREFIX = "diffusionad-"
LOCK = "in-use.lock"  # locked by its process for as long as that lives, however it ends


@cache
def _root() -> tempfile.TemporaryDirectory[str]:
    """Return the folder that is removed with the process, and all users' files with it."""
    parent = Path(os.environ.get(GRADIO_FOLDER_VARIABLE) or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    while True:
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent)
        lock = Path(folder.name, LOCK)
        if _lock(lock) is not None and lock.exists():  # not removed by another start in between
            return folder


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that were killed; a living one holds the lock in its folder.

    Args:
        parent: holds the folders of all processes. Other users' folders, links and folders without a lock
            are left alone.
    """
    if fcntl is None:
        return
    for folder in parent.glob(f"{PREFIX}*"):
        lock = folder / LOCK
        with suppress(OSError):
            if folder.is_symlink() or lock.is_symlink() or not lock.is_file():
                continue
            if folder.stat().st_uid != os.getuid():
                continue
            descriptor = _lock(lock)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock, -1 where the system has none; None where another does."""
    if fcntl is None:
        path.touch()
        return -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


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
