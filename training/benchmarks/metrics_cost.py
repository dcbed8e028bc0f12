"""Measure the time and memory that the pixel metrics of a large test split take.

    python -m training.benchmarks.metrics_cost --output benchmarks/metrics_cost.json

The maps are noise; every second one has two defects. Time and memory do not depend on the content of a map.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from diffusionad.cli.options import output_option, run

from ..evaluation.bootstrap import pixel_intervals, resampled
from ..evaluation.metrics import PixelMetrics
from ..evaluation.provenance import command, machine, versions
from .report import write_report
from .step_cost import peak_memory


def measure(maps: int, side: int) -> dict[str, Any]:
    """Accumulate square maps one by one, then compute the metrics with their intervals."""
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
    accumulated, cpu_accumulated = time.perf_counter(), time.process_time()
    metrics = pixels.compute()
    pixel_intervals(pixels, resampled(np.arange(maps) % 2))
    return {
        "maps": maps,
        "side": side,
        "seconds": accumulated - started,
        "cpu_seconds": cpu_accumulated - cpu_started,  # more reliable on a busy machine
        "seconds_with_intervals": time.perf_counter() - started,
        "cpu_seconds_with_intervals": time.process_time() - cpu_started,
        "peak_memory_gb": peak_memory(torch.device("cpu")) / 1e9,
        "metrics": metrics,
    }


@click.command("metrics_cost")
@output_option("JSON file to write.")
@click.option("--maps", type=click.IntRange(2), default=500, show_default=True, help="Number of maps.")
@click.option(
    "--side", type=click.IntRange(50), default=1024, show_default=True, help="Side of a map in pixels."
)
def metrics_cost_command(output: Path, maps: int, side: int) -> None:
    """Measure time and memory of the pixel metrics of a large test split."""
    report = {"command": command(), **measure(maps, side), "machine": machine(), "versions": versions()}
    write_report(output, report)
    click.echo(
        f"{maps} maps of {side} x {side}: {report['seconds_with_intervals']:.0f} s, "
        f"{report['cpu_seconds_with_intervals']:.0f} s of CPU, {report['peak_memory_gb']:.1f} GB"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(metrics_cost_command, arguments, "python -m training.benchmarks.metrics_cost")


if __name__ == "__main__":
    sys.exit(main())
