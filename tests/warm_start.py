"""Commands in processes of their own that start in a tenth of a second, on Linux.

Importing torch and diffusers takes seconds, and dozens of tests start a command. Here a server imports them
once for each process of the tests, and forks for each command. What a real start loads, and how long it
takes, is tested with real ones: tests/cli/test_main.py, tests/test_wheel.py.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from functools import cache
from typing import IO, Any, NoReturn

PRELOADED = (
    "diffusionad.pipeline",
    "diffusionad.inspection.results",
    "training.trainer.training",
    "training.evaluation.evaluator",
    "hub.push_model",
)
LENGTH = 8  # bytes that say how long a request is


@cache
def _server() -> tuple[socket.socket, threading.Lock]:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # first: the server ends with it
    return ours, threading.Lock()


class WarmProcess:
    """What the tests use of `subprocess.Popen`, for `python -m MODULE`, `python -c CODE` and `python FILE`.

    Args:
        words: beginning with `sys.executable`, and -u perhaps.
        cwd: folder; None is that of the tests.
        env: all environment variables; None are those of the tests.
        stdout: None, `subprocess.PIPE`, `subprocess.DEVNULL`, or an open file.
        stderr: likewise.
        text: must be True where something is read.
        start_new_session: of its own, so that its whole group can be sent a signal.
    """

    def __init__(
        self,
        words: list[str],
        *,
        cwd: Any = None,
        env: dict[str, str] | None = None,
        stdout: int | IO | None = None,
        stderr: int | IO | None = None,
        text: bool = True,
        start_new_session: bool = False,
    ):
        assert words[0] == sys.executable and text
        self.args = words
        self.returncode: int | None = None
        given: list[int] = []
        self.stdout, self.stderr = (self._stream(1, stdout, given), self._stream(2, stderr, given))
        self._answers, answers = os.pipe()
        request = {
            "words": [str(word) for word in words[1:]],
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "session": start_new_session,
        }
        message = json.dumps(request).encode()
        server, lock = _server()
        with lock:
            socket.send_fds(server, [len(message).to_bytes(LENGTH, "big")], [*given, answers])
            server.sendall(message)
        for descriptor in (*given, answers):
            os.close(descriptor)
        self._unread = b""
        self.pid = int(self._answer(None) or 0)

    def _stream(self, number: int, wanted: int | IO | None, given: list[int]) -> IO[str] | None:
        """Add what the command gets as its stream `number`; return the end that the tests read, if any."""
        if wanted == subprocess.PIPE:
            read, write = os.pipe()
            given.append(write)
            return os.fdopen(read, encoding="utf-8", errors="replace")
        if wanted == subprocess.DEVNULL:
            given.append(os.open(os.devnull, os.O_WRONLY))
        else:
            given.append(os.dup(number if wanted is None or isinstance(wanted, int) else wanted.fileno()))
        return None

    def _answer(self, timeout: float | None) -> str | None:
        """Return the server's next line; None where it does not come in time."""
        while b"\n" not in self._unread:
            if not select.select([self._answers], [], [], timeout)[0]:
                return None
            more = os.read(self._answers, 100)
            assert more, "the server of the tests' commands has ended"
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def poll(self) -> int | None:
        if self.returncode is None:
            self._end(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._end(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def _end(self, timeout: float | None) -> None:
        status = self._answer(timeout)
        if status is not None:
            self.returncode = int(status)
            os.close(self._answers)

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Read both streams to their end, and wait."""
        found: dict[str, str] = {}

        def read(name: str, stream: IO[str]) -> None:
            with stream:
                found[name] = stream.read()

        streams = {name: s for name, s in (("out", self.stdout), ("err", self.stderr)) if s is not None}
        readers = [threading.Thread(target=read, args=item, daemon=True) for item in streams.items()]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return found.get("out"), found.get("err")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


start = WarmProcess if sys.platform == "linux" else subprocess.Popen


def run(words: list[str], timeout: float = 600, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is captured."""
    process = start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(words, process.returncode or 0, out, err)


def serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request, and tell how its process ended; return in that process, with the request."""
    running: dict[int, int] = {}
    while True:
        if select.select([requests], [], [], 0.01 if running else None)[0]:
            length, descriptors, _, _ = socket.recv_fds(requests, LENGTH, 3)
            if not length:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            request = json.loads(_read(requests, int.from_bytes(length, "big")))
            pid = os.fork()
            if pid == 0:
                requests.close()
                os.dup2(descriptors[0], 1)
                os.dup2(descriptors[1], 2)
                for descriptor in (*descriptors, *running.values()):
                    os.close(descriptor)
                return request
            for descriptor in descriptors[:2]:
                os.close(descriptor)
            running[pid] = descriptors[2]
            os.write(running[pid], f"{pid}\n".encode())
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                os.write(running[pid], f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os.close(running.pop(pid))


def _read(source: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += source.recv(length - len(data))
    return data


def become(request: dict[str, Any]) -> NoReturn:
    """Be the command that was asked for, to the end of the process."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    os.environ.clear()
    os.environ.update(request["env"])
    if hub != {name: value for name, value in os.environ.items() if name.startswith("HF_")}:
        importlib.reload(sys.modules["huggingface_hub.constants"])
    words = request["words"]
    flagged = words[0] == "-u"
    unbuffered = flagged or "PYTHONUNBUFFERED" in os.environ
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = os.fdopen(os.dup(number), "wb", buffering=0 if unbuffered else -1)
        line_buffered = unbuffered or name == "stderr"
        setattr(sys, name, io.TextIOWrapper(raw, encoding="utf-8", line_buffering=line_buffered))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status: Any = 0
    try:
        _run(words[flagged:], request["cwd"])
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)  # the interpreter's own end would copy the memory that all commands share: seconds


def _run(words: list[str], folder: str) -> None:
    if words[0] == "-m":
        sys.path[0], sys.argv = folder, words[1:]
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # imported already
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.path[0], sys.argv = "", ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0], sys.argv = os.path.dirname(words[0]), words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the tests' terminal is for them
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # collections in the commands leave shared memory alone
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
