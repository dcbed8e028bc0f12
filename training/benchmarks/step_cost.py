"""What an optimiser step of a preset takes on this machine: seconds and memory, on the real networks.

    python -m training.benchmarks.step_cost --preset paper --micro-batch 1 --micro-batches 1 --steps 3 \\
        --output benchmarks/paper_step_cpu.json

The samples are noise, since speed and memory do not depend on what is in a picture. A step of the preset's
batch takes batch_size / micro_batch micro-batches; their number changes the time of a step, not its memory.
"""

import argparse
import dataclasses
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.schema import TrainConfig, load_config, with_optim
from ..evaluation.provenance import short_path
from ..train import backward
from ..trainer.distributed import start_accelerator, with_native_precision
from ..trainer.networks import build_networks, moving_average


def measure(config: TrainConfig, steps: int, micro_batches: int) -> dict[str, Any]:
    """Train fresh networks for `steps` steps on noise.

    Args:
        config: settings; `optim.micro_batch_size` samples go through at a time.
        steps: how many.
        micro_batches: of each step.

    Returns:
        Seconds and losses of every step, the peak of memory in GB, the parameters.
    """
    accelerator = start_accelerator(config)
    torch.manual_seed(0)
    unet, scheduler, segmenter = build_networks(config)
    if config.optim.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    for net in (unet, segmenter):
        net.to(accelerator.device, memory_format=torch.channels_last)
    averages = [moving_average(net, config.optim.ema_decay) for net in (unet, segmenter)]
    weights = [*unet.parameters(), *segmenter.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-5)
    networks = unet, segmenter
    unet, segmenter, optimizer = accelerator.prepare(unet, segmenter, optimizer)
    seconds, cpu_seconds, losses = [], [], []
    for _ in range(steps):
        batches = [noise_batch(config, accelerator.device) for _ in range(micro_batches)]
        started, cpu_started = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        found = backward(accelerator, batches, unet, segmenter, scheduler, config)
        accelerator.clip_grad_norm_(weights, config.optim.gradient_norm_max or float("inf"))
        optimizer.step()
        for average, net in zip(averages, networks, strict=True):
            average.update_parameters(net)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        losses.append(found)
        print(f"step {len(seconds)}: {seconds[-1]:.1f} s, {found}", flush=True)
    return {
        "seconds_per_step": seconds,
        "cpu_seconds_per_step": cpu_seconds,  # on a busy machine these say more
        "losses": losses,
        "peak_memory_gb": peak_memory(accelerator.device) / 1e9,
        "parameters": {
            name: sum(p.numel() for p in net.parameters())
            for name, net in zip(("unet", "segmenter"), networks, strict=True)
        },
        "device": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else platform.machine(),
    }


def noise_batch(config: TrainConfig, device: torch.device) -> dict[str, Tensor]:
    """A micro-batch in the form of real ones; every second sample is a normal one."""
    n, size = config.optim.micro_batch_size, config.data.image_size
    pictures = {k: torch.randn(n, 3, size, size) for k in ("x_0", "noise_fine", "noise_coarse")}
    label = torch.arange(n) % 2
    batch = {
        **pictures,
        "mask": label.reshape(-1, 1, 1, 1) * (torch.rand(n, 1, size, size) > 0.9).float(),
        "label": label,
        "t_fine": torch.randint(*config.diffusion.train_t_fine, (n,)),
        "t_coarse": torch.randint(*config.diffusion.train_t_coarse, (n,)),
    }
    return {name: value.to(device) for name, value in batch.items()}


def peak_memory(device: torch.device) -> int:
    """Bytes: what torch has held on a GPU; elsewhere the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.step_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--micro-batch", type=int, default=1, help="samples at a time")
    parser.add_argument("--micro-batches", type=int, default=1, help="of each step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    config = with_native_precision(load_config(args.preset, args.set))
    config = with_optim(config, micro_batch_size=args.micro_batch)
    found = measure(config, args.steps, args.micro_batches)
    report = {
        "command": f"python -m training.benchmarks.step_cost --preset {args.preset} "
        f"--micro-batch {args.micro_batch} "
        f"--micro-batches {args.micro_batches} --steps {args.steps}"
        + "".join(f" --set {setting}" for setting in args.set)
        + f" --output {short_path(str(args.output))}",
        **found,
        "precision": config.optim.precision,
        "gradient_checkpointing": config.optim.gradient_checkpointing,
        "image_size": config.data.image_size,
        "model": dataclasses.asdict(config.model),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{found['peak_memory_gb']:.1f} GB at the peak")


if __name__ == "__main__":
    main()
