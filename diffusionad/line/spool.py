"""Messages on the disk until their receiver has taken them."""

import os
import threading
from pathlib import Path

from diffusionad.files import replacing


class Spool:
    """A folder of messages in the order of their arrival, each a file `NUMBER-ID.json`.

    A message that was put is on the disk, whatever happens to the process or the power, until it is removed.
    One thread may put while another takes.

    Args:
        folder: made when it does not exist; messages of an earlier process are taken first.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.glob("*-*.json"))
        self._waiting = {name.partition("-")[2].removesuffix(".json"): name for name in names}  # by id
        self._number = int(names[-1].partition("-")[0]) + 1 if names else 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message_id: str, message: bytes) -> None:
        """Write a message to the disk.

        Args:
            message_id: letters and digits; a message with the id of one that waits is left out.
            message: its content.
        """
        if message_id in self._waiting:
            return
        name = f"{self._number:012d}-{message_id}.json"
        with replacing(self.folder / name) as partial, open(partial, "wb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self.folder)
        self._number += 1
        with self._lock:
            self._waiting[message_id] = name

    def oldest(self) -> tuple[str, bytes] | None:
        """Return id and content of the oldest message; None when there is none."""
        with self._lock:
            message_id = next(iter(self._waiting), None)
        if message_id is None:
            return None
        return message_id, (self.folder / self._waiting[message_id]).read_bytes()

    def remove(self, message_id: str) -> None:
        """Remove a message: it was taken."""
        (self.folder / self._waiting[message_id]).unlink(missing_ok=True)
        with self._lock:
            del self._waiting[message_id]

    def set_aside(self, message_id: str) -> Path:
        """Move a message that nobody will take to the folder `refused`, and return its place."""
        name = self._waiting[message_id]
        place = self.folder / "refused" / name
        place.parent.mkdir(exist_ok=True)
        os.replace(self.folder / name, place)
        with self._lock:
            del self._waiting[message_id]
        return place


def _sync_folder(folder: Path) -> None:
    """Bring a folder's new names to the disk, where the system lets a program do so."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
