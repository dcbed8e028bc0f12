"""Measure the latency of a pipeline on this machine.

    python -m training.benchmarks.latency --output benchmarks/latency.json [--model FOLDER] [--device cuda]

Without a model, the networks of a preset are timed with fresh weights: speed does not depend on their values.
On a CPU bf16 is timed only where the processor computes in it: emulation takes many times as long.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from diffusionad import DiffusionADPipeline
from diffusionad.cli.options import CannotRun, model_option, output_option, run

from ..evaluation.provenance import command, machine
from ..trainer.distributed import processor_computes_in_bf16
from ..trainer.networks import build_networks, build_pipeline
from .options import preset_config, preset_option
from .report import write_report

BATCHES = (1, 8)


def dtypes_of(device: str) -> tuple[torch.dtype, ...]:
    """List the number formats that the device computes in without emulation."""
    if device == "cuda":
        return torch.float32, torch.bfloat16, torch.float16
    return (torch.float32, torch.bfloat16) if processor_computes_in_bf16() else (torch.float32,)


def latency(pipeline: DiffusionADPipeline, batch: int, repeats: int) -> dict[str, float]:
    """Measure milliseconds a picture over `repeats` calls of `batch` pictures, after one warm-up call."""
    pipeline.set_progress_bar_config(disable=True)
    size = pipeline.config.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    # Fresh weights would give thousands of random regions; threshold 1 leaves none to find.
    totals, stages = [], []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        result = pipeline(pictures, batch_size=batch, threshold=1.0)
        totals.append(1000 * (time.perf_counter() - started) / batch)
        stages.append(result.timings)
    middle = {name: statistics.median(1000 * s[name] / batch for s in stages[1:]) for name in stages[0]}
    return {
        "ms_per_picture_median": statistics.median(totals[1:]),
        "ms_per_picture_min": min(totals[1:]),
        "ms_per_picture_max": max(totals[1:]),
        **{f"{name}_ms": value for name, value in middle.items() if name != "total"},
    }


def _fresh_pipeline(preset: str) -> DiffusionADPipeline:
    config = preset_config(preset)
    torch.manual_seed(0)
    return build_pipeline(config, preset, *build_networks(config))


@click.command("latency")
@model_option(required=False)
@output_option("JSON file to write.")
@preset_option("tiny", "Preset of fresh networks, without --model: a name or a TOML file.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads of the CPU.")
@click.option(
    "--repeats", type=click.IntRange(1), default=15, show_default=True, help="Timed calls of each row."
)
def latency_command(
    model: str | None, output: Path, preset: str, device: str, threads: int, repeats: int
) -> None:
    """Time a pipeline on this machine, one picture at a time and in batches."""
    if device == "cuda" and not torch.cuda.is_available():
        raise CannotRun(f"--device cuda: torch {torch.__version__} finds no GPU; use cpu.")
    torch.set_num_threads(threads)
    rows: list[dict[str, Any]] = []
    for dtype in dtypes_of(device):
        if model:
            pipeline = DiffusionADPipeline.from_pretrained(model, dtype=dtype)
        else:
            pipeline = _fresh_pipeline(preset).to(dtype)
        pipeline.to(device)
        for batch in BATCHES:
            row = {"dtype": str(dtype).removeprefix("torch."), "batch": batch}
            rows.append(row | latency(pipeline, batch, repeats))
            shown = {k: round(v, 1) if isinstance(v, float) else v for k, v in rows[-1].items()}
            click.echo(json.dumps(shown))
    networks = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in ("unet", "segmenter")
    }
    report = {
        "command": command(),
        "model": model or f"preset {preset}, fresh weights",
        "image_size": pipeline.config.image_size,
        "parameters": networks,
        "device": device,
        "threads": threads,
        "machine": machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    write_report(output, report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(latency_command, arguments, "python -m training.benchmarks.latency")


if __name__ == "__main__":
    sys.exit(main())
