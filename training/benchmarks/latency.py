"""Measure the latency of a pipeline on this machine.

    python -m training.benchmarks.latency --output benchmarks/latency.json [--model FOLDER] [--device cuda]
    python -m training.benchmarks.latency --output F.json --model FOLDER --exported EXPORT --exported EXPORT

Without a model, the networks of a preset are timed with fresh weights: speed does not depend on their values.
Exports are timed in the same run, as ratios to the pipeline in fp32. Beside the times stand the arithmetic
of a picture and what the machine reaches in a product of matrices, which no network can beat.
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
from torch.utils.flop_counter import FlopCounterMode

from diffusionad import DiffusionADPipeline, ExportedPipeline
from diffusionad.cli.options import CannotRun, model_option, one_line, output_option, run
from diffusionad.deploy.graph import Networks
from diffusionad.files import replacing

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


def latency(pipeline: DiffusionADPipeline | ExportedPipeline, batch: int, repeats: int) -> dict[str, float]:
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


def matrix_gflops(dtype: torch.dtype, side: int = 2048, repeats: int = 5) -> float:
    """Measure billions of operations a second in products of square matrices, the best of `repeats`."""
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds) / 1e9


@torch.no_grad()
def gflop_per_picture(pipeline: DiffusionADPipeline) -> float:
    """Count billions of operations of the networks for a square picture."""
    side = pipeline.config.image_size
    networks = Networks(pipeline)
    with FlopCounterMode(display=False) as counter:
        networks(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 1e9


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table with a line a row; the ratio is to the pipeline in fp32, same batch."""
    base = {row["batch"]: row["ms_per_picture_median"] for row in rows if row["form"] == "torch float32"}
    lines = ["| form | pictures a call | ms a picture | spread | times as fast |", "|---|--:|--:|--:|--:|"]
    for row in rows:
        middle = row["ms_per_picture_median"]
        spread = f"{row['ms_per_picture_min']:.1f} to {row['ms_per_picture_max']:.1f}"
        times = base[row["batch"]] / middle
        lines.append(f"| {row['form']} | {row['batch']} | {middle:.1f} | {spread} | {times:.1f} |")
    return "\n".join(lines) + "\n"


def _fresh_pipeline(preset: str) -> DiffusionADPipeline:
    config = preset_config(preset)
    torch.manual_seed(0)
    return build_pipeline(config, preset, *build_networks(config))


@click.command("latency")
@model_option(required=False)
@output_option("JSON file to write.")
@preset_option("tiny", "Preset of fresh networks, without --model: a name or a TOML file.")
@click.option(
    "--exported",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of an export to time beside the model, on a CPU; may repeat.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads of the CPU.")
@click.option(
    "--repeats", type=click.IntRange(1), default=15, show_default=True, help="Timed calls of each row."
)
def latency_command(
    model: str | None,
    output: Path,
    preset: str,
    exported: tuple[Path, ...],
    device: str,
    threads: int,
    repeats: int,
) -> None:
    """Time a pipeline on this machine, one picture at a time and in batches."""
    if device == "cuda" and not torch.cuda.is_available():
        raise CannotRun(f"--device cuda: torch {torch.__version__} finds no GPU; use cpu.")
    torch.set_num_threads(threads)
    try:
        exports = [ExportedPipeline(folder, threads) for folder in exported]
    except (OSError, ValueError) as error:
        raise CannotRun(f"--exported: {one_line(error)}") from error
    rows: list[dict[str, Any]] = []
    for dtype in dtypes_of(device):
        if model:
            pipeline = DiffusionADPipeline.from_pretrained(model, dtype=dtype)
        else:
            pipeline = _fresh_pipeline(preset).to(dtype)
        pipeline.to(device)
        for batch in BATCHES:
            name = str(dtype).removeprefix("torch.")
            rows.append({"form": f"torch {name}", "batch": batch} | latency(pipeline, batch, repeats))
            _show(rows[-1])
    for export in exports:
        form = f"{export.folder.name}: {export.about['runtime']} {export.about['precision']}"
        for batch in BATCHES:
            rows.append({"form": form, "batch": batch} | latency(export, batch, repeats))
            _show(rows[-1])
    networks = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in ("unet", "segmenter")
    }
    report = {
        "command": command(),
        "model": model or f"preset {preset}, fresh weights",
        "image_size": pipeline.config.image_size,
        "parameters": networks,
        "gflop_per_picture": gflop_per_picture(pipeline.to("cpu", torch.float32)),
        "matrix_gflops": {str(d).removeprefix("torch."): matrix_gflops(d) for d in dtypes_of("cpu")},
        "device": device,
        "threads": threads,
        "machine": machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    write_report(output, report)
    if device == "cpu":
        with replacing(output.with_suffix(".md")) as partial:
            partial.write_text(markdown_table(rows), encoding="utf-8")


def _show(row: dict[str, Any]) -> None:
    click.echo(json.dumps({k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(latency_command, arguments, "python -m training.benchmarks.latency")


if __name__ == "__main__":
    sys.exit(main())
