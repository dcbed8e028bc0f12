"""One batch through everything before the first step: an error shows in the first minute, not after hours."""

import copy
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import nn
from torch.utils.data import default_collate

from diffusionad import DiffusionADPipeline

from ..config.schema import TrainConfig
from ..run_folder import save_pipeline
from ..synthesis.dataset import SyntheticAnomalies
from .networks import build_pipeline
from .steps import total, training_step
from .validation import Validation

GRADIENT_TOLERANCE = 0.1  # relative; bf16 rounds differently when operations are fused


def sanity_check(
    config: TrainConfig,
    accelerator: Accelerator,
    samples: SyntheticAnomalies,
    validation: Validation,
    networks: tuple[nn.Module, DDPMScheduler, nn.Module],
    micro_batch: int,
    folder: Path,
) -> None:
    """Compute losses and gradients of one micro-batch; save, load and run a pipeline. All on copies.

    Raises:
        ValueError: a step does not fit into memory, or compiled networks learn something else; the message
            says what to change.
    """
    unet, scheduler, segmenter = copy.deepcopy(networks)
    compiled = [copy.deepcopy(network) for network in (unet, segmenter) if config.optim.compile]
    batch = default_collate([samples[0, i % len(samples)] for i in range(micro_batch)])
    batch = {name: value.to(accelerator.device) for name, value in batch.items()}

    def learn(unet: nn.Module, segmenter: nn.Module) -> None:
        with accelerator.autocast():
            losses = training_step(batch, unet, segmenter, scheduler, config)
        total(losses).backward()

    try:
        learn(unet, segmenter)
        torch.optim.AdamW([*unet.parameters(), *segmenter.parameters()]).step()  # its moments need room, too
    except torch.OutOfMemoryError as error:
        raise ValueError(too_large(config, micro_batch, accelerator.device)) from error
    if config.optim.compile:
        for network in compiled:
            network.compile()
        learn(*compiled)
        check_compiled([unet, segmenter], compiled)
    if accelerator.is_main_process:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".sanity-check-") as temporary:
            saved = Path(temporary) / "pipeline"
            save_pipeline(build_pipeline(config, "sanity check", unet, scheduler, segmenter), saved)
            pipeline = DiffusionADPipeline.from_pretrained(saved).to(accelerator.device)
            validation.panels(pipeline, count=1)


def too_large(config: TrainConfig, micro_batch: int, device: torch.device) -> str:
    """Say what to change when a step does not fit into memory."""
    return (
        f"{micro_batch} samples of {config.data.image_size} pixels do not fit into the memory of "
        f"{device}; lower `optim.micro_batch_size` (the batch stays "
        f"{config.optim.batch_size}), set `optim.gradient_checkpointing` to true, or raise "
        "`model.patch_size`."
    )


def check_compiled(plain: list[nn.Module], compiled: list[nn.Module]) -> None:
    """Compare the gradients of compiled networks with those of the plain ones.

    With torch 2.13 on a CPU they were not: those of some layers of a UNet of two levels came out as zero.

    Raises:
        ValueError: they differ by more than rounding does.
    """
    vectors = []
    for networks in (plain, compiled):
        weights = [weight for network in networks for weight in network.parameters()]
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        vectors.append(torch.cat([part.detach().float().flatten() for part in parts]))
    difference = float((vectors[0] - vectors[1]).norm() / vectors[0].norm().clamp_min(1e-12))
    if not difference <= GRADIENT_TOLERANCE:
        raise ValueError(
            f"`optim.compile` is true, but the gradients of the compiled networks differ by {difference:.0%} "
            "from those of the plain ones on this machine: torch.compile computes something else here. Train "
            "with `optim.compile` false."
        )
