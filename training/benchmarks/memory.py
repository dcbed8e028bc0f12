"""Count the memory that training with a preset needs, without computing anything.

    python -m training.benchmarks.memory --preset paper --output benchmarks/paper_memory.json

Networks and samples live on torch's "meta" device: shapes without numbers. The count covers the weights
(weight, gradient, two moments of Adam, moving average: five numbers each) and, per sample, the tensors that
the forward pass keeps for the backward pass. It leaves out the work space of kernels and, with gradient
checkpointing, the activations of the one block that is computed again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor

from diffusionad.cli.options import output_option, run

from ..config.schema import TrainConfig, with_optim
from ..evaluation.provenance import short_path
from ..trainer.networks import build_networks
from ..trainer.steps import total, training_step
from .options import preset_config, preset_option
from .report import write_report
from .step_cost import noise_batch

NUMBERS_PER_WEIGHT = 5
BYTES = 4


def count(config: TrainConfig, gradient_checkpointing: bool) -> dict[str, float]:
    """Count the GB of the weights and of one sample, in fp32."""
    with torch.device("meta"):
        unet, scheduler, segmenter = build_networks(config)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to("meta")
    if gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    weights = [p for net in (unet, segmenter) for p in net.parameters()]
    known = {p.untyped_storage()._cdata for p in weights}
    kept: dict[int, Tensor] = {}  # tensors are held: the key of a freed storage could be reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in known:
            kept.setdefault(storage, tensor)
        return tensor

    # Choosing samples by a mask depends on numbers, which do not exist here: assume that all are chosen.
    with fx_config.patch(meta_nonzero_assume_all_nonzero=True):  # type: ignore[attr-defined]
        batch = noise_batch(with_optim(config, micro_batch_size=1), torch.device("meta"))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            total(training_step(batch, unet, segmenter, scheduler, config))
    return {
        "weights_gb": NUMBERS_PER_WEIGHT * BYTES * sum(p.numel() for p in weights) / 1e9,
        "gb_per_sample": sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 1e9,
    }


@click.command("memory")
@preset_option("paper", "Name of a preset, or a TOML file.")
@output_option("JSON file to write.")
def memory_command(preset: str, output: Path) -> None:
    """Count the memory that training with a preset needs."""
    config = preset_config(preset)
    plain, checkpointed = count(config, False), count(config, True)
    report = {
        "command": f"python -m training.benchmarks.memory --preset {preset} "
        f"--output {short_path(str(output))}",
        "preset": preset,
        "precision": "fp32",
        "weights_gb": plain["weights_gb"],
        "gb_per_sample": plain["gb_per_sample"],
        "gb_per_sample_with_gradient_checkpointing": checkpointed["gb_per_sample"],
        "torch": torch.__version__,
    }
    write_report(output, report)
    click.echo(json.dumps(report, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(memory_command, arguments, "python -m training.benchmarks.memory")


if __name__ == "__main__":
    sys.exit(main())
