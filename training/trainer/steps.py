"""Losses of one batch, and the gradients of one optimiser step; DiffusionAD, training."""

import contextlib
import functools
import operator
from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor, nn

from diffusionad import norm_guided_one_step
from diffusionad.guidance import OneStepPrediction, alpha_bar_at

from ..config.schema import TrainConfig
from .losses import noise_loss, segmentation_loss

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]
# Parts of a batch that norm_guided_one_step takes, in its order.
DENOISED = ("x_0", "noise_fine", "noise_coarse", "t_fine", "t_coarse")


def has_noise_loss(batch: Batch, config: TrainConfig) -> Tensor:
    """Return which samples have a noise loss, bool [N]: normal ones, or all if the UNet learns to repair."""
    return (batch["label"] == 0) | config.optim.repair


def noise_target(batch: Batch, scheduler: DDPMScheduler) -> Tensor:
    """Return the noise that the UNet must predict, [2N,C,S,S], fine scale first.

    This is the noise that was added. Where the batch holds `clean`, the picture before its defect, it is the
    noise that leads from `clean` to x_t, so that the predicted x_0 is `clean` (DDPM eq. 15).
    """
    noises = []
    for scale in ("fine", "coarse"):
        noise = batch[f"noise_{scale}"]
        if "clean" in batch:
            alpha_bar = alpha_bar_at(scheduler.alphas_cumprod, batch[f"t_{scale}"], noise)
            noise = noise + (alpha_bar / (1 - alpha_bar)).sqrt() * (batch["x_0"] - batch["clean"])
        noises.append(noise)
    return torch.cat(noises)


def denoise(
    batch: Batch, unet: nn.Module, scheduler: DDPMScheduler, config: TrainConfig
) -> OneStepPrediction:
    """Reconstruct a batch by norm-guided one-step denoising."""
    x_0, noise_fine, noise_coarse, t_fine, t_coarse = (batch[name] for name in DENOISED)
    weight = config.diffusion.guidance_weight
    return norm_guided_one_step(unet, scheduler, x_0, noise_fine, noise_coarse, t_fine, t_coarse, weight)


def training_step(
    batch: Batch,
    unet: nn.Module,
    segmenter: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    noise_count: Tensor | None = None,
) -> Losses:
    """Compute both losses of joint training.

    Args:
        batch: a micro-batch.
        unet: noise predictor.
        segmenter: (x_0, x_0_hat) to logits.
        scheduler: noise schedule.
        config: settings of the run.
        noise_count: divisor of the noise loss where this is a part of a larger batch; default: the number of
            samples with a noise loss.

    Returns:
        "noise" of normal samples (of all, with `optim.repair`), "segmentation" of all samples.
    """
    counts = has_noise_loss(batch, config)
    if config.optim.detach_reconstruction:
        loss_noise, x_0_hat = _detached(batch, unet, scheduler, config, noise_count)
    else:
        step = denoise(batch, unet, scheduler, config)
        loss_noise = noise_loss(step.eps_pred, noise_target(batch, scheduler), counts, noise_count)
        x_0_hat = step.x_0_hat
    return {"noise": loss_noise, **segmenter_step({**batch, "x_0_hat": x_0_hat}, segmenter, config)}


def _detached(
    batch: Batch, unet: nn.Module, scheduler: DDPMScheduler, config: TrainConfig, noise_count: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Noise loss, and reconstructions without a graph, [N,3,S,S].

    Only samples with a noise loss need a graph. Where there is none, one sample takes part with a loss of 0,
    since the other processes wait for gradients from all.
    """
    x_0, counts = batch["x_0"], has_noise_loss(batch, config)
    first = torch.arange(len(x_0), device=x_0.device) == 0
    learns = counts if counts.any() else first
    x_0_hat = torch.empty_like(x_0)
    step = denoise({name: batch[name][learns] for name in DENOISED}, unet, scheduler, config)
    target = noise_target(batch, scheduler)[learns.repeat(2)]
    loss_noise = noise_loss(step.eps_pred, target, counts[learns], noise_count)
    x_0_hat[learns] = step.x_0_hat.detach()
    if not learns.all():
        with torch.no_grad():
            others = {name: batch[name][~learns] for name in DENOISED}
            x_0_hat[~learns] = denoise(others, unet, scheduler, config).x_0_hat
    return loss_noise, x_0_hat


def unet_step(
    batch: Batch,
    unet: nn.Module,
    scheduler: DDPMScheduler,
    config: TrainConfig,
    noise_count: Tensor | None = None,
) -> Losses:
    """Compute the noise loss alone: the first of two phases."""
    step = denoise(batch, unet, scheduler, config)
    target = noise_target(batch, scheduler)
    return {"noise": noise_loss(step.eps_pred, target, has_noise_loss(batch, config), noise_count)}


def segmenter_step(batch: Batch, segmenter: nn.Module, config: TrainConfig) -> Losses:
    """Compute the segmentation loss of a batch with reconstructions `x_0_hat`: the second of two phases."""
    logits = segmenter(batch["x_0"], batch["x_0_hat"])
    optim = config.optim
    return {
        "segmentation": segmentation_loss(
            logits, batch["mask"], optim.segmentation_loss, optim.positive_weight
        )
    }


def total(losses: Losses) -> Tensor:
    """Return the sum of the losses, a scalar."""
    return functools.reduce(operator.add, losses.values())


def backward(
    accelerator: Accelerator,
    micro_batches: list[Batch],
    networks: Sequence[nn.Module],
    config: TrainConfig,
    losses_of: Callable[[Batch, Tensor], Losses],
) -> dict[str, float]:
    """Compute gradients and losses of one step, as if all micro-batches of all processes were one batch.

    Args:
        accelerator: processes of the run.
        micro_batches: those of this process.
        networks: modules whose gradients the processes exchange.
        config: settings of the run.
        losses_of: a micro-batch and the divisor of its noise loss, to its losses.

    Returns:
        Losses by name, means over all processes.
    """
    n = len(micro_batches)
    counted = torch.stack([has_noise_loss(batch, config).sum() for batch in micro_batches]).sum().float()
    # Gradients are averaged over micro-batches and processes. With the mean number of samples that have a
    # noise loss as divisor of each noise loss, the total number divides the sum.
    noise_count = accelerator.reduce(counted, "mean") / n
    summed: Losses = {}
    for i, batch in enumerate(micro_batches):
        with contextlib.ExitStack() as unsynchronized:
            if i < n - 1:  # the processes meet once a step
                for network in networks:
                    unsynchronized.enter_context(accelerator.no_sync(network))
            losses = losses_of(batch, noise_count)
            accelerator.backward(total(losses) / n)
        parts = {name: value.detach() / n for name, value in losses.items()}
        summed = {name: summed[name] + part for name, part in parts.items()} if i else parts
    means = accelerator.reduce(torch.stack(list(summed.values())), "mean")
    return dict(zip(summed, means.tolist(), strict=True))
