"""Time the first use: from a fresh clone over `make demo` to the first verdict.

    python -m training.benchmarks.cold_start --output benchmarks/first_verdict.json

The committed state is cloned into a temporary folder, where `make demo` installs everything: downloads count,
so the figure depends on the package index. Then an example is inspected over the app's API, and the app is
started a second time.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from diffusionad.cli.options import CannotRun, output_option, run
from diffusionad.loading.bundled import demo_model, demo_models

from ..evaluation.provenance import command, machine, versions
from .report import write_report

REPOSITORY = Path(__file__).parents[2]  # the clone
ADDRESS = re.compile(r"http://\S+")
EXAMPLE = "stain.png"


@contextmanager
def demo(clone: Path) -> Iterator[tuple[str, float]]:
    """Run `make demo`; yield the address that it prints, and the seconds until then.

    Raises:
        RuntimeError: the command ended before it printed an address.
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
    assert process.stdout is not None
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
    """Return the verdict of the app on an example, and the seconds it took."""
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    name = demo_models()[0]
    started = time.perf_counter()
    found, *_ = client.predict(
        handle_file(Path(demo_model(name), "examples", EXAMPLE)), name, api_name="/inspect"
    )
    return found["verdict"], time.perf_counter() - started


@click.command("cold_start")
@output_option("JSON file to write.")
def cold_start_command(output: Path) -> None:
    """Time `make demo` from a fresh clone to the first verdict."""
    if not (REPOSITORY / ".git").exists():
        raise CannotRun(f"{REPOSITORY} is no clone; run this command in one.")
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
    write_report(output, report)
    click.echo(json.dumps(report, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(cold_start_command, arguments, "python -m training.benchmarks.cold_start")


if __name__ == "__main__":
    sys.exit(main())
