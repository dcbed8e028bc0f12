"""A folder under watch: every finished new picture is inspected once, also over restarts."""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionad.images.image_io import IMAGE_SUFFIXES, is_hidden
from diffusionad.inspection.results import Result
from diffusionad.interrupts import StopRequest

if TYPE_CHECKING:
    from diffusionad.line.metrics import Metrics
    from diffusionad.line.sinks import Sink

# Polls for which a file may be unreadable and unchanged before it counts as broken, not as half-written.
PATIENCE = 5

# What tells one content of a file from the next: (mtime_ns, size).
Stamp = tuple[int, int]


class WatchLog:
    """`watched.jsonl`: a line for every file that has been dealt with, its stamp and its result.

    Each line is on the disk before the next file is touched. A line that a kill or a power cut left
    half-written is dropped, and its file inspected again.

    Args:
        path: the file; made when it does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._done: dict[str, Stamp] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            try:
                record = json.loads(line)
                self._done[record["file"]] = record["mtime_ns"], record["size"]
            except (ValueError, KeyError, TypeError):
                print(f"`{path}` has a damaged line; its picture is inspected again.", file=sys.stderr)

    def __contains__(self, file_and_stamp: tuple[Path, Stamp]) -> bool:
        file, stamp = file_and_stamp
        return self._done.get(str(file)) == stamp

    def append(self, line: str, file: Path, stamp: Stamp) -> None:
        """Write a line to the disk before anything else happens."""
        with open(self.path, "ab", buffering=0) as log:
            log.write(f"{line}\n".encode("ascii"))
            os.fsync(log.fileno())
        self._done[str(file)] = stamp


def watch(
    folder: Path,
    log: WatchLog,
    inspect: Callable[[Sequence[Path]], Iterable[Result]],
    stop: StopRequest,
    interval: float = 1.0,
    ignore: Sequence[Path] = (),
    sinks: "Sequence[Sink]" = (),
    metrics: "Metrics | None" = None,
    trace: Mapping[str, Any] | None = None,
) -> None:
    """Print one line of JSON for every picture that is in the folder or arrives there, until stopped.

    A file is finished when its size and time of change are the same in two polls and it can be read. One that
    stays unreadable for `PATIENCE` polls without a change is reported, once, as an error. A file that changes
    later is a new one. The line is printed, and lies in the spool of every sink, before it is logged: after a
    kill between them, a line comes twice, under the same id, rather than never.

    Args:
        folder: absolute; searched recursively, hidden and system folders left out.
        log: what has been dealt with.
        inspect: yields a result per file, in order.
        stop: ends the watch between two pictures.
        interval: seconds between polls.
        ignore: absolute folders inside that are not searched, such as the one that is written to.
        sinks: get every line, too.
        metrics: counts pictures; None does not.
        trace: goes into every line: which model it was.
    """
    polls: dict[Path, tuple[Stamp, int]] = {}  # of each file under observation: stamp, polls without a change
    is_missing = False
    while not stop.requested:
        if is_missing != (not folder.is_dir()):
            is_missing = not is_missing
            print(f"`{folder}` is {'gone; waiting for it' if is_missing else 'back'}.", file=sys.stderr)
        previous, polls = polls, {}
        for file, stamp in _scan(folder, ignore):
            if (file, stamp) not in log:
                last_stamp, count = previous.get(file, (None, 0))
                polls[file] = stamp, count + 1 if stamp == last_stamp else 0
        ready = sorted((stamp, file) for file, (stamp, count) in polls.items() if count)  # the oldest first
        results = inspect([file for _, file in ready])
        for done, ((stamp, file), result) in enumerate(zip(ready, results, strict=True)):
            if metrics is not None:
                metrics.set_queue(len(ready) - done)
            still_the_same = _stamp(file) == stamp
            is_settled = result.error is None or polls[file][1] >= PATIENCE
            if still_the_same and is_settled:
                line = result.to_dict() | dict(trace or {})
                _tell(line, file, stamp, log, sinks)
                if metrics is not None:
                    metrics.count(result, stamp[0])
            if stop.requested:
                break
        else:
            if metrics is not None:
                metrics.set_queue(0)
        stop.wait(interval)


def _tell(content: dict[str, Any], file: Path, stamp: Stamp, log: WatchLog, sinks: "Sequence[Sink]") -> None:
    """Print a picture's line, hand it to the sinks, and log it, in this order."""
    what = f"{file}\0{stamp[0]}\0{stamp[1]}".encode("utf-8", "surrogateescape")
    message_id = hashlib.sha256(what).hexdigest()[:32]
    mark = {"id": message_id, "file": str(file), "mtime_ns": stamp[0], "size": stamp[1]}
    line = json.dumps(mark | content)
    print(line, flush=True)
    for sink in sinks:
        sink.put(message_id, line.encode("ascii"))
    log.append(line, file, stamp)


def _scan(folder: Path, ignore: Sequence[Path]) -> Iterable[tuple[Path, Stamp]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not is_hidden(Path(f)) and Path(parent, f) not in ignore]
        for name in names:
            file = Path(parent, name)
            if file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(Path(name)):
                stamp = _stamp(file)
                if stamp is not None:
                    yield file, stamp


def _stamp(file: Path) -> Stamp | None:
    """Return a file's stamp; None when it is gone, cannot be looked at, or is a pipe that never ends."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None
