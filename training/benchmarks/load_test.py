"""What visitors of the app get when several come at once: verdicts a second, and how long each waits.

    python -m training.benchmarks.load_test --output benchmarks/visitors.json [--visitors 1 8]

Serves the app on loopback and lets each visitor send an example over the API, one inspection after the
other: upload, verdict, overlay and reconstruction as PNG, all counts. The networks run on the GPU where there
is one, as they do for anybody who starts the app.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from gradio_client import Client, handle_file

from diffusionad.loading.bundled import demo_model
from diffusionad.ui import LAUNCH_OPTIONS, build_app

from ..evaluation.provenance import command, machine, versions

EXAMPLE = "stain.png"


def load(address: str, model: str, visitors: int, pictures: int) -> dict[str, float | int | str]:
    """So many visitors at once, each with so many pictures.

    Returns:
        Verdicts a second over all visitors; seconds from click to verdict; the device that the app names.
    """
    example = handle_file(Path(demo_model(model), "examples", EXAMPLE))
    clients = [Client(address, verbose=False, download_files=False) for _ in range(visitors)]

    def visit(client: Client, count: int) -> list[tuple[float, str]]:
        seen = []
        for _ in range(count):
            started = time.perf_counter()
            answer, *_ = client.predict(example, model, api_name="/inspect")
            seen.append((time.perf_counter() - started, answer["device"]))
        return seen

    with ThreadPoolExecutor(visitors) as threads:
        list(threads.map(visit, clients, [1] * visitors))  # loads the model; first kernels
        started = time.perf_counter()
        seen = [one for each in threads.map(visit, clients, [pictures] * visitors) for one in each]
        seconds = time.perf_counter() - started
    waits = sorted(wait for wait, _ in seen)
    return {
        "visitors": visitors,
        "device": seen[0][1],
        "verdicts_per_second": len(seen) / seconds,
        "seconds_median": statistics.median(waits),
        "seconds_max": waits[-1],
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.load_test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--model", default="fabric", help="an embedded model, default %(default)s")
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pictures", type=int, default=20, help="of each visitor, default %(default)s")
    args = parser.parse_args(arguments)
    app = build_app([]).queue(max_size=64)
    _, address, _ = app.launch(prevent_thread_lock=True, **LAUNCH_OPTIONS)
    try:
        rows = [load(address, args.model, count, args.pictures) for count in args.visitors]
    finally:
        app.close()
    report = {
        "model": args.model,
        "pictures_per_visitor": args.pictures,
        "command": command(),
        "machine": machine(),
        "torch_threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": rows,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
