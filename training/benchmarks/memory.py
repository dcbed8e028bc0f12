"""How much memory a preset's training needs, counted without computing anything.

    python -m training.benchmarks.memory --preset paper --output benchmarks/paper_memory.json

Networks and samples live on torch's "meta" device: shapes without numbers. Counted are the weights with all
that belongs to them (gradient, two moments of Adam, moving average: five numbers each) and, per sample, what
the forward pass keeps for the backward pass. Not counted: work space of kernels and, with gradient
checkpointing, the activations of the one block that is computed again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor

from ..config.schema import TrainConfig, load_config, with_optim
from ..train import training_step
from ..trainer.networks import build_networks
from .step_cost import noise_batch

NUMBERS_PER_WEIGHT = 5
BYTES = 4


def count(config: TrainConfig, gradient_checkpointing: bool) -> dict[str, float]:
    """GB of the weights and of one sample, in fp32."""
    with torch.device("meta"):
        unet, scheduler, segmenter = build_networks(config)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to("meta")
    if gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    weights = [p for net in (unet, segmenter) for p in net.parameters()]
    known = {p.untyped_storage()._cdata for p in weights}
    kept: dict[int, Tensor] = {}  # held, lest a freed storage's place be taken by another

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in known:
            kept.setdefault(storage, tensor)
        return tensor

    # Choosing samples by a mask depends on numbers, which are not there: take it that all are chosen.
    with fx_config.patch(meta_nonzero_assume_all_nonzero=True):
        batch = noise_batch(with_optim(config, micro_batch_size=1), torch.device("meta"))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            sum(training_step(batch, unet, segmenter, scheduler, config).values())
    return {
        "weights_gb": NUMBERS_PER_WEIGHT * BYTES * sum(p.numel() for p in weights) / 1e9,
        "gb_per_sample": sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 1e9,
    }


def report(preset: str) -> dict[str, Any]:
    """Both ways of keeping activations."""
    config = load_config(preset)
    plain, checkpointed = count(config, False), count(config, True)
    return {
        "preset": preset,
        "precision": "fp32",
        "weights_gb": plain["weights_gb"],
        "gb_per_sample": plain["gb_per_sample"],
        "gb_per_sample_with_gradient_checkpointing": checkpointed["gb_per_sample"],
        "torch": torch.__version__,
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    args = parser.parse_args(arguments)
    found = {
        "command": f"python -m training.benchmarks.memory --preset {args.preset} --output {args.output}",
        **report(args.preset),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
