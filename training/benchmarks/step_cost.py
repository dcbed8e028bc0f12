r"""Measure the time and memory of an optimiser step of a preset, on the real networks.

    python -m training.benchmarks.step_cost --preset paper --micro-batch 1 --micro-batches 1 --steps 3 \
        --output benchmarks/paper_step_cpu.json

The samples are noise, since time and memory do not depend on the pictures. A step of the preset's batch takes
batch_size / micro_batch micro-batches; their number changes the time of a step, not its memory.
"""

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from diffusionad.cli.options import output_option, run

from ..config.schema import TrainConfig, with_optim
from ..evaluation.provenance import short_path
from ..trainer.distributed import start_accelerator, with_native_precision
from ..trainer.networks import build_networks, moving_average
from ..trainer.steps import Batch, Losses, backward, training_step
from .options import preset_config, preset_option
from .report import write_report


def measure(config: TrainConfig, steps: int, micro_batches: int) -> dict[str, Any]:
    """Train fresh networks for `steps` steps on noise.

    Args:
        config: settings; a micro-batch has `optim.micro_batch_size` samples.
        steps: number of steps.
        micro_batches: number of micro-batches of each step.

    Returns:
        Seconds and losses of every step, the peak memory in GB, the numbers of parameters.
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

    def losses_of(batch: Batch, noise_count: Tensor) -> Losses:
        return training_step(batch, unet, segmenter, scheduler, config, noise_count)

    seconds, cpu_seconds, losses = [], [], []
    for _ in range(steps):
        batches = [noise_batch(config, accelerator.device) for _ in range(micro_batches)]
        started, cpu_started = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        found = backward(accelerator, batches, [unet, segmenter], config, losses_of)
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
        "cpu_seconds_per_step": cpu_seconds,  # more reliable on a busy machine
        "losses": losses,
        "peak_memory_gb": peak_memory(accelerator.device) / 1e9,
        "parameters": {
            name: sum(p.numel() for p in net.parameters())
            for name, net in zip(("unet", "segmenter"), networks, strict=True)
        },
        "device": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else platform.machine(),
    }


def noise_batch(config: TrainConfig, device: torch.device) -> dict[str, Tensor]:
    """Draw a micro-batch of noise in the form of real ones; every second sample is normal."""
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
    """Return the peak memory in bytes: of torch on a GPU, elsewhere of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


@click.command("step_cost")
@preset_option("paper", "Name of a preset, or a TOML file.")
@output_option("JSON file to write.")
@click.option(
    "--micro-batch", type=click.IntRange(1), default=1, show_default=True, help="Samples of a micro-batch."
)
@click.option(
    "--micro-batches", type=click.IntRange(1), default=1, show_default=True, help="Micro-batches of a step."
)
@click.option("--steps", type=click.IntRange(1), default=3, show_default=True, help="Number of steps.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting.")
def step_cost_command(
    preset: str, output: Path, micro_batch: int, micro_batches: int, steps: int, settings: tuple[str, ...]
) -> None:
    """Measure time and memory of optimiser steps on the networks of a preset."""
    config = with_optim(with_native_precision(preset_config(preset, settings)), micro_batch_size=micro_batch)
    found = measure(config, steps, micro_batches)
    report = {
        "command": f"python -m training.benchmarks.step_cost --preset {preset} --micro-batch {micro_batch} "
        f"--micro-batches {micro_batches} --steps {steps}"
        + "".join(f" --set {setting}" for setting in settings)
        + f" --output {short_path(str(output))}",
        **found,
        "precision": config.optim.precision,
        "gradient_checkpointing": config.optim.gradient_checkpointing,
        "image_size": config.data.image_size,
        "model": dataclasses.asdict(config.model),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_report(output, report)
    click.echo(f"{found['peak_memory_gb']:.1f} GB at the peak")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(step_cost_command, arguments, "python -m training.benchmarks.step_cost")


if __name__ == "__main__":
    sys.exit(main())
