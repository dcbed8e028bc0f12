"""Load test of the app: verdicts a second, and the waiting time of each client.

    python -m training.benchmarks.load_test --output benchmarks/load.json [--clients 1 --clients 8]

The app runs on loopback; each client sends an example over the API, one inspection after the other. Upload,
verdict, overlay and reconstruction as PNG all count. The networks run on a GPU if there is one.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import torch

from diffusionad.cli.options import output_option, run
from diffusionad.loading.bundled import demo_model

from ..evaluation.provenance import command, machine, versions
from .report import write_report

EXAMPLE = "stain.png"


def load(address: str, model: str, clients: int, pictures: int) -> dict[str, float | int | str]:
    """Let concurrent clients inspect pictures.

    Args:
        address: address of the app.
        model: name of an embedded model.
        clients: number of clients.
        pictures: number of pictures of each client.

    Returns:
        Verdicts a second over all clients, seconds from request to verdict, and the device of the app.
    """
    from gradio_client import Client, handle_file

    example = handle_file(Path(demo_model(model), "examples", EXAMPLE))
    connected = [Client(address, verbose=False, download_files=False) for _ in range(clients)]

    def inspect(client: Client, count: int) -> list[tuple[float, str]]:
        answers = []
        for _ in range(count):
            started = time.perf_counter()
            answer, *_ = client.predict(example, model, api_name="/inspect")
            answers.append((time.perf_counter() - started, answer["device"]))
        return answers

    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(inspect, connected, [1] * clients))  # loads the model; first kernels
        started = time.perf_counter()
        answers = [one for each in threads.map(inspect, connected, [pictures] * clients) for one in each]
        seconds = time.perf_counter() - started
    waits = sorted(wait for wait, _ in answers)
    return {
        "clients": clients,
        "device": answers[0][1],
        "verdicts_per_second": len(answers) / seconds,
        "seconds_median": statistics.median(waits),
        "seconds_max": waits[-1],
    }


@click.command("load_test")
@click.option("--model", default="fabric", show_default=True, help="Name of an embedded model.")
@output_option("JSON file to write.")
@click.option(
    "--clients",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 8),
    show_default=True,
    help="Number of concurrent clients; may repeat.",
)
@click.option(
    "--pictures", type=click.IntRange(1), default=20, show_default=True, help="Pictures of each client."
)
def load_test_command(model: str, output: Path, clients: tuple[int, ...], pictures: int) -> None:
    """Measure verdicts a second and waiting times of the app under load."""
    from diffusionad.ui import LAUNCH_OPTIONS, build_app

    app = build_app([]).queue(max_size=64)
    _, address, _ = app.launch(prevent_thread_lock=True, **LAUNCH_OPTIONS)
    try:
        rows = [load(address, model, count, pictures) for count in clients]
    finally:
        app.close()
    report = {
        "model": model,
        "pictures_per_client": pictures,
        "command": command(),
        "machine": machine(),
        "torch_threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": rows,
    }
    write_report(output, report)
    click.echo(json.dumps(rows, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(load_test_command, arguments, "python -m training.benchmarks.load_test")


if __name__ == "__main__":
    sys.exit(main())
