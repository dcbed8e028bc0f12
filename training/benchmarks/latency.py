"""How long a picture takes: latency of a pipeline on this machine.

    python -m training.benchmarks.latency --output benchmarks/latency.json [--model FOLDER] [--device cuda]

Without a model, the networks of the preset are timed with fresh weights: speed does not depend on their
values. On a CPU bf16 is timed where the processor computes in it: emulated, it takes many times as long.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from diffusionad import DiffusionADPipeline

from ..config.schema import load_config
from ..evaluation.provenance import command, machine
from ..trainer.distributed import processor_computes_in_bf16
from ..trainer.networks import build_networks, build_pipeline

BATCHES = (1, 8)


def dtypes_of(device: str) -> tuple[torch.dtype, ...]:
    """What the networks can compute in without emulating it."""
    if device == "cuda":
        return torch.float32, torch.bfloat16, torch.float16
    return (torch.float32, torch.bfloat16) if processor_computes_in_bf16() else (torch.float32,)


def latency(pipeline: DiffusionADPipeline, batch: int, repeats: int) -> dict[str, float]:
    """Milliseconds a picture over `repeats` calls with `batch` pictures, after one call to warm up."""
    pipeline.set_progress_bar_config(disable=True)
    size = pipeline.config.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    # Random weights mark pixels at random, and finding thousands of regions would be timed.
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


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.latency", description=__doc__)
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--model", help="folder or Hub id; default: fresh networks of --preset")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} finds none; use cpu.")
    torch.set_num_threads(args.threads)
    rows = []
    for dtype in dtypes_of(args.device):
        if args.model:
            pipeline = DiffusionADPipeline.from_pretrained(args.model, dtype=dtype)
        else:
            config = load_config(args.preset)
            torch.manual_seed(0)
            pipeline = build_pipeline(config, args.preset, *build_networks(config)).to(dtype)
        pipeline.to(args.device)
        for batch in BATCHES:
            row = {"dtype": str(dtype).removeprefix("torch."), "batch": batch}
            rows.append(row | latency(pipeline, batch, args.repeats))
            print(json.dumps({k: round(v, 1) if isinstance(v, float) else v for k, v in rows[-1].items()}))
    networks = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in ("unet", "segmenter")
    }
    report = {
        "command": command(),
        "model": args.model or f"preset {args.preset}, fresh weights",
        "image_size": pipeline.config.image_size,
        "parameters": networks,
        "device": args.device,
        "threads": args.threads,
        "machine": machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
