"""Networks of a run: fresh ones, their moving averages, and the pipeline that is saved."""

import copy
import math
from typing import cast

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffusionad import AnomalySegmenter, DiffusionADPipeline

from ..config.schema import TrainConfig

Tensors = list[Tensor] | tuple[Tensor, ...]


def build_networks(config: TrainConfig) -> tuple[UNet2DModel, DDPMScheduler, AnomalySegmenter]:
    """Build both networks with fresh weights, and the noise schedule."""
    model, p = config.model, config.model.patch_size
    sizes = [config.data.image_size // p // 2**i for i in range(len(model.unet_channels))]
    with_attention = [size in model.unet_attention_sizes for size in sizes]
    unet = UNet2DModel(
        sample_size=config.data.image_size // p,
        in_channels=3 * p * p,
        out_channels=3 * p * p,
        block_out_channels=model.unet_channels,
        layers_per_block=model.unet_layers,
        # The last level's attention sits in the middle block.
        down_block_types=[f"{'Attn' if a else ''}DownBlock2D" for a in [*with_attention[:-1], False]],
        up_block_types=[f"{'Attn' if a else ''}UpBlock2D" for a in [False, *with_attention[-2::-1]]],
        add_attention=with_attention[-1],
        attention_head_dim=32,
        norm_num_groups=math.gcd(32, *model.unet_channels) // (1 if min(model.unet_channels) >= 128 else 2),
    )
    scheduler = DDPMScheduler(
        num_train_timesteps=config.diffusion.num_train_timesteps, prediction_type=model.prediction_type
    )
    segmenter = AnomalySegmenter(
        block_out_channels=model.segmenter_channels,
        norm=model.segmenter_norm,
        stem_patch=model.segmenter_stem_patch,
        with_difference=model.segmenter_with_difference,
    )
    if model.segmenter_prior != 0.5:
        prior = model.segmenter_prior
        nn.init.constant_(segmenter.conv_out.bias, math.log(prior / (1 - prior)))
    return unet, scheduler, segmenter


def build_pipeline(
    config: TrainConfig, category: str, unet: nn.Module, scheduler: DDPMScheduler, segmenter: nn.Module
) -> DiffusionADPipeline:
    """Build a pipeline of copies in fp32, in plain memory layout, ready to be saved."""
    unet, segmenter = copy.deepcopy(unet).float(), copy.deepcopy(segmenter).float()
    for network in (unet, segmenter):
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return DiffusionADPipeline(
        unet,
        scheduler,
        cast(AnomalySegmenter, segmenter),
        image_size=config.data.image_size,
        resize_mode=config.data.resize_mode,
        shorter_side=config.data.shorter_side or None,
        antialias=config.data.antialias,
        bit_depth=config.data.bit_depth or None,
        denoising="distilled" if config.distillation.teacher else "guided",
        t_fine=config.diffusion.t_fine,
        t_coarse=config.diffusion.t_coarse,
        guidance_weight=config.diffusion.guidance_weight,
        num_noise_samples=config.diffusion.num_noise_samples,
        top_fraction=config.diffusion.top_fraction,
        category=config.data.category or category,
    )


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Average parameters and buffers (EMA); the decay grows from 0.1 and soon forgets the first weights."""

    def update(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        n = float(updates)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, weight)
        else:  # BatchNorm's counter
            for old, new in zip(averaged, current, strict=True):
                old.copy_(new)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
