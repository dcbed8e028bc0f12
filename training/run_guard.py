"""Guards of a run folder: one process at a time, whole folders, one sentence when nothing can be written."""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

# What a write fails with while nothing is wrong with the run: full, over quota, too large, read-only.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


class RunLock:
    """Lock of a run folder; the system takes it back when the process ends, however that happens.

    The lock belongs to the process alone: workers that it forked, and that outlive a kill, do not hold it.

    Args:
        output: run folder.
    """

    def __init__(self, output: Path):
        self.output = output
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock and write down who holds it; the folder must exist.

        Raises:
            ValueError: another process has it.
        """
        if fcntl is None:
            return
        descriptor = os.open(self.output / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks
            raise ValueError(
                f"`--output`: {holder or 'another process'} trains in `{self.output}` at this moment; wait "
                "until it has ended, or choose another folder."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """Turn a full disk into one sentence; torch and safetensors have errors of their own for it.

    Raises:
        OSError: something could not be written; the message says why and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _reason_on_disk(error)
        if reason is None:
            raise
        raise OSError(
            f"`{output}` cannot be written ({reason}); put that right, then go on with --resume: the last "
            "whole checkpoint is kept."
        ) from error


def _reason_on_disk(error: BaseException | None) -> str | None:
    """Return the system's words for why a write failed; None where it was something else."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, SafetensorError):
            found = re.search(r"(?:os error |Os { code: )(\d+)", str(error))
            number = int(found[1]) if found else None
        if number in _DISK:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def swapping(folder: Path) -> Iterator[Path]:
    """Write a new folder and put it in place of an old one, by renames alone.

    Killed at any moment, the old or the new folder is whole under one of three names; `adopt` finds it.

    Args:
        folder: final place.

    Yields:
        The place to write to, `.NAME.partial`; `model_index.json` must be written last.
    """
    adopt(folder)
    partial, previous = _partial(folder), _previous(folder)
    try:
        yield partial
        if folder.exists():
            folder.rename(previous)
        partial.rename(folder)
    except BaseException:
        if not folder.exists() and previous.exists():
            previous.rename(folder)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)


def adopt(folder: Path) -> None:
    """Finish a swap that a kill cut short: with the new folder if it is whole, else with the old one."""
    for candidate in (_partial(folder), _previous(folder)):
        if not folder.exists() and (candidate / "model_index.json").is_file():
            candidate.rename(folder)
    shutil.rmtree(_partial(folder), ignore_errors=True)
    shutil.rmtree(_previous(folder), ignore_errors=True)


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")
