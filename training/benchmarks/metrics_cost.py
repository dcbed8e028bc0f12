"""What the pixel metrics of a large test split take on this machine: seconds and memory.

    python -m training.benchmarks.metrics_cost --output benchmarks/metrics_cost.json

The maps are noise with two defects in every second one: neither depends on what a map shows.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..evaluation.bootstrap import pixel_intervals, resampled
from ..evaluation.metrics import PixelMetrics
from ..evaluation.provenance import command, machine, versions
from .step_cost import peak_memory


def measure(maps: int, side: int) -> dict[str, Any]:
    """Tally square maps one by one, then compute the metrics with their intervals."""
    noise = np.random.default_rng(0).random((side, side), dtype=np.float32)
    mask = np.zeros((side, side), bool)
    unit = side // 50
    mask[5 * unit : 10 * unit, 15 * unit : 21 * unit] = mask[25 * unit : 26 * unit, 30 * unit : 45 * unit] = (
        True
    )
    started, cpu_started = time.perf_counter(), time.process_time()
    pixels = PixelMetrics()
    for i in range(maps):
        pixels.add(noise * np.float32(0.5 + 0.45 * i / maps), mask if i % 2 else np.zeros_like(mask))
    tallied, cpu_tallied = time.perf_counter(), time.process_time()
    metrics = pixels.compute()
    pixel_intervals(pixels, resampled(np.arange(maps) % 2))
    return {
        "maps": maps,
        "side": side,
        "seconds": tallied - started,
        "cpu_seconds": cpu_tallied - cpu_started,  # on a busy machine these say more
        "seconds_with_intervals": time.perf_counter() - started,
        "cpu_seconds_with_intervals": time.process_time() - cpu_started,
        "peak_memory_gb": peak_memory(torch.device("cpu")) / 1e9,
        "metrics": metrics,
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.metrics_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--side", type=int, default=1024, help="of a map, in pixels; 50 at least")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    if args.maps < 2 or args.side < 50:
        parser.error("--maps must be 2 or more, --side 50 or more")
    report = {
        "command": command(),
        **measure(args.maps, args.side),
        "machine": machine(),
        "versions": versions(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"{args.maps} maps of {args.side} x {args.side}: {report['seconds_with_intervals']:.0f} s, "
        f"{report['cpu_seconds_with_intervals']:.0f} s of CPU, {report['peak_memory_gb']:.1f} GB"
    )


if __name__ == "__main__":
    main()
