"""How long a newcomer waits: from a fresh clone over `make demo` to the first verdict.

    python -m training.benchmarks.cold_start --output benchmarks/first_verdict.json

Clones what is committed here into a temporary folder and runs `make demo` there, which installs everything:
downloads count, so the figure depends on the package index. Then it inspects an example over the app's API,
and starts the app a second time.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client, handle_file

from diffusionad.loading.bundled import demo_model, demo_models

from ..evaluation.provenance import command, machine, versions

REPOSITORY = Path(__file__).parents[2]
ADDRESS = re.compile(r"http://\S+")
EXAMPLE = "stain.png"


@contextmanager
def demo(clone: Path) -> Iterator[tuple[str, float]]:
    """`make demo`: the address that it prints, and after how many seconds.

    Raises:
        RuntimeError: it ended before it printed one.
    """
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        ["make", "demo"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            if "running on" in line.lower() and (found := ADDRESS.search(line)):
                yield found.group(), time.perf_counter() - started
                return
        raise RuntimeError("`make demo` ended before it printed an address; its output is above.")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def verdict(address: str) -> tuple[str, float]:
    """What the app says of an example, and after how many seconds."""
    client = Client(address, verbose=False)
    name = demo_models()[0]
    started = time.perf_counter()
    found, *_ = client.predict(
        handle_file(Path(demo_model(name), "examples", EXAMPLE)), name, api_name="/inspect"
    )
    return found["verdict"], time.perf_counter() - started


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.cold_start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", "--local", str(REPOSITORY), str(clone)], check=True)
        with demo(clone) as (address, install_seconds):
            said, verdict_seconds = verdict(address)
        with demo(clone) as (_, start_seconds):
            pass
    report = {
        "install_and_start_seconds": round(install_seconds, 1),
        "first_verdict_seconds": round(verdict_seconds, 2),
        "second_start_seconds": round(start_seconds, 1),
        "verdict": said,
        "command": command(),
        "machine": machine(),
        "versions": versions(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
