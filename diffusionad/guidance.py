"""The paper's formulas as pure tensor functions, shared by training and inference.

DiffusionAD (arXiv 2303.08730), norm-guided one-step denoising: two one-step predictions of the clean image,
from a little noise (t_fine) and from a lot (t_coarse), are blended into one anomaly-free reconstruction.
Images are in [-1, 1]; every function computes in the dtype of the tensors it is given.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Timestep = int | Tensor


class OneStepPrediction(NamedTuple):
    """What one norm-guided step computes.

    Attributes:
        x_0_hat: [N,C,S,S] in [-1, 1], the anomaly-free reconstruction.
        x_t: [2N,C,S,S], the noised images, the fine scale first.
        eps_pred: [2N,C,S,S], the noise that the UNet sees in `x_t`, in the dtype of `x_0`.
        x_0_fine: [N,C,S,S], one-step prediction from t_fine, not clamped.
        x_0_coarse: [N,C,S,S], one-step prediction from t_coarse, in [-1, 1].
    """

    x_0_hat: Tensor
    x_t: Tensor
    eps_pred: Tensor
    x_0_fine: Tensor
    x_0_coarse: Tensor

    def pictures(self) -> dict[str, Tensor]:
        """Return what can be looked at, by its name in `DenoisingSteps`, [N,C,S,S] each."""
        x_t_fine, x_t_coarse = self.x_t.chunk(2)
        named = {"x_t_fine": x_t_fine, "x_t_coarse": x_t_coarse}
        return named | {"x_0_fine": self.x_0_fine, "x_0_coarse": self.x_0_coarse, "x_0_hat": self.x_0_hat}


class DistilledPrediction(NamedTuple):
    """What the one step of a distilled UNet computes.

    Attributes:
        x_0_hat: [N,C,S,S] in [-1, 1], the anomaly-free reconstruction.
        x_t: [N,C,S,S], the noised images.
    """

    x_0_hat: Tensor
    x_t: Tensor

    def pictures(self) -> dict[str, Tensor]:
        """Return what can be looked at, by its name in `DenoisingSteps`, [N,C,S,S] each."""
        return {"x_t_fine": self.x_t, "x_0_hat": self.x_0_hat}


class NoiseDraw(NamedTuple):
    """One draw of the noise, alike for all pictures and tiles: it belongs to the pixel position.

    Attributes:
        fine: [1,C,S,S], standard normal.
        coarse: likewise, drawn independently.
        state: generator in the state after the draw, for the steps of iterative denoising.
    """

    fine: Tensor
    coarse: Tensor
    state: torch.Generator


def draw_noise(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> NoiseDraw:
    """Draw the noise of both scales, the fine one first; advances `generator`."""
    fine, coarse = (
        # Of float32 whatever torch's default is: the networks' dtype has no part in the noise.
        torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(device)
        for _scale in range(2)
    )
    return NoiseDraw(fine, coarse, generator.clone_state())


def alpha_bar_at(alphas_cumprod: Tensor, t: Timestep, like: Tensor) -> Tensor:
    """Cumulative signal level alpha_bar_t (DDPM eq. 4), shaped to multiply `like` [N,C,H,W].

    Args:
        alphas_cumprod: [T] in (0, 1), as in `scheduler.alphas_cumprod`.
        t: one timestep for all images, or [N] one for each.
        like: the images; gives device and dtype.

    Returns:
        [1,1,1,1] or [N,1,1,1].
    """
    t = torch.as_tensor(t, device=alphas_cumprod.device).reshape(-1, 1, 1, 1)
    return alphas_cumprod[t].to(device=like.device, dtype=like.dtype)


def add_noise(x_0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t from x_0; DDPM eq. 4: x_t = √ᾱ x_0 + √(1-ᾱ) ε."""
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps


def predict_x_0(x_t: Tensor, eps_pred: Tensor, alpha_bar: Tensor) -> Tensor:
    """One-step x_0 from eps; DDPM eq. 15: x_0 = (x_t - √(1-ᾱ) ε) / √ᾱ. Not clamped."""
    return (x_t - (1 - alpha_bar).sqrt() * eps_pred) / alpha_bar.sqrt()


def guide(x_0_fine: Tensor, x_0_coarse: Tensor, alpha_bar_fine: Tensor, guidance_weight: float) -> Tensor:
    """Norm guidance; DiffusionAD, norm-guided one-step denoising, as a single interpolation.

    The paper's long form re-noises the coarse prediction to the fine scale and corrects the predicted noise
    with it:

        x̃_t = √ᾱ clamp(x_0_coarse) + √(1-ᾱ) ε_fine
        ε'   = ε_fine - √(1-ᾱ) w (x̃_t - x_t)
        x̂_0  = clamp((x_t - √(1-ᾱ) ε') / √ᾱ)

    Since x_t = √ᾱ x_0_fine + √(1-ᾱ) ε_fine, the noise cancels: x̃_t - x_t = √ᾱ (clamp(x_0_coarse) -
    x_0_fine), and

        x̂_0  = clamp(lerp(x_0_fine, clamp(x_0_coarse), w (1-ᾱ)))

    At t_fine = 200 and w = 1 the coarse scale has a weight of 0.344: 65.6 % of the result comes from the fine
    scale.

    Args:
        x_0_fine: [N,C,S,S], one-step prediction from t_fine, not clamped.
        x_0_coarse: [N,C,S,S], one-step prediction from t_coarse; clamped here.
        alpha_bar_fine: alpha_bar at t_fine, as `alpha_bar_at` gives it.
        guidance_weight: w; 0 leaves the fine prediction alone.

    Returns:
        [N,C,S,S] in [-1, 1].
    """
    weight = guidance_weight * (1 - alpha_bar_fine)
    return torch.lerp(x_0_fine, x_0_coarse.clamp(-1, 1), weight.expand_as(x_0_fine)).clamp(-1, 1)


def patch_size_of(unet: Any, channels: int) -> int:
    """Side p of the pixel blocks that the UNet sees as channels: in_channels = channels * p * p."""
    unet = getattr(unet, "module", unet)  # inside DistributedDataParallel
    in_channels = getattr(getattr(unet, "config", None), "in_channels", channels)
    patch_size = math.isqrt(in_channels // channels)
    if channels * patch_size**2 != in_channels:
        raise ValueError(
            f"`unet` takes {in_channels} channels, which is not {channels} x p x p for any patch size p; "
            f"use `in_channels` = {channels}, {channels * 4} or {channels * 16} (p = 1, 2, 4)."
        )
    return patch_size


def prediction_type_of(scheduler: Any) -> str:
    """What the UNet predicts: "epsilon", as in the paper, or "sample", x_0 itself."""
    return getattr(getattr(scheduler, "config", None), "prediction_type", "epsilon")


def predict_eps(unet: Any, scheduler: Any, x_t: Tensor, t: Tensor) -> Tensor:
    """The noise that the UNet sees, in the dtype of `x_t`, whatever dtype and patch size the UNet works in.

    A UNet may predict x_0 in place of eps (`prediction_type="sample"`); eps follows from DDPM eq. 4. With a
    patch size above 1 that matters: noise of 3 p p channels does not fit through a narrow network, a clean
    picture does. The loss on eps stays the same.

    Args:
        unet: a diffusers `UNet2DModel`, or anything called as `unet(sample, timesteps).sample`.
        scheduler: diffusers `DDPMScheduler`; its `alphas_cumprod` and `config.prediction_type` are read.
        x_t: [B,C,S,S], noised images; S must be a multiple of the patch size.
        t: [B] timesteps.

    Returns:
        [B,C,S,S].
    """
    patch_size = patch_size_of(unet, x_t.shape[1])
    sample = F.pixel_unshuffle(x_t, patch_size)  # [B,C,S,S] -> [B,Cpp,S/p,S/p]
    prediction = unet(sample.to(getattr(unet, "dtype", x_t.dtype)), t).sample
    prediction = F.pixel_shuffle(prediction, patch_size).to(x_t.dtype)  # -> [B,C,S,S]
    if prediction_type_of(scheduler) == "epsilon":
        return prediction
    alpha_bar = alpha_bar_at(scheduler.alphas_cumprod, t, x_t)
    return (x_t - alpha_bar.sqrt() * prediction) / (1 - alpha_bar).sqrt()


def norm_guided_one_step(
    unet: Any,
    scheduler: Any,
    x_0: Tensor,
    noise_fine: Tensor,
    noise_coarse: Tensor,
    t_fine: Timestep,
    t_coarse: Timestep,
    guidance_weight: float,
) -> OneStepPrediction:
    """Norm-guided one-step denoising (DiffusionAD): noise at two scales, ONE UNet call for both, blend.

    Args:
        unet: noise predictor, called once with [2N,Cpp,S/p,S/p]; p follows from its `config.in_channels`.
        scheduler: diffusers `DDPMScheduler`; its `alphas_cumprod` [T] and `config.prediction_type` are read.
        x_0: [N,C,S,S] in [-1, 1].
        noise_fine: [N,C,S,S] or [1,C,S,S], standard normal.
        noise_coarse: likewise, drawn independently of `noise_fine`.
        t_fine: timestep of the little noise, an int or [N] (paper: 200 at inference, U[0, 300) in training).
        t_coarse: timestep of the lot of noise, an int or [N] (paper: 400; U[300, T) in training).
        guidance_weight: w of the norm guidance (paper: 1).

    Returns:
        The reconstruction and what led to it, see `OneStepPrediction`.

    Raises:
        ValueError: if the UNet's channels fit no patch size.
    """
    n = x_0.shape[0]
    alpha_bar_fine = alpha_bar_at(scheduler.alphas_cumprod, t_fine, x_0)
    alpha_bar_coarse = alpha_bar_at(scheduler.alphas_cumprod, t_coarse, x_0)
    x_t_fine = add_noise(x_0, noise_fine, alpha_bar_fine)
    x_t_coarse = add_noise(x_0, noise_coarse, alpha_bar_coarse)
    x_t = torch.cat([x_t_fine, x_t_coarse])  # [2N,C,S,S]
    t = torch.cat([torch.as_tensor(s, device=x_0.device).reshape(-1).expand(n) for s in (t_fine, t_coarse)])

    eps_pred = predict_eps(unet, scheduler, x_t, t)
    eps_fine, eps_coarse = eps_pred[:n], eps_pred[n:]  # [N,C,S,S] each; `chunk` would fix N in an export

    x_0_fine = predict_x_0(x_t_fine, eps_fine, alpha_bar_fine)
    x_0_coarse = predict_x_0(x_t_coarse, eps_coarse, alpha_bar_coarse).clamp(-1, 1)
    x_0_hat = guide(x_0_fine, x_0_coarse, alpha_bar_fine, guidance_weight)
    return OneStepPrediction(x_0_hat, x_t, eps_pred, x_0_fine, x_0_coarse)


def distilled_one_step(unet: Any, scheduler: Any, x_0: Tensor, noise: Tensor, t: int) -> DistilledPrediction:
    """One-step x_0 from ONE noise scale; DDPM eq. 15, by a UNet distilled from norm guidance.

    The UNet has learnt to predict what a teacher's norm-guided steps give on average, as latent-consistency
    models learn what many steps give (Luo et al., 2023). So there is nothing left to guide.

    Args:
        unet: as in `norm_guided_one_step`, called once with [N,Cpp,S/p,S/p].
        scheduler: likewise.
        x_0: [N,C,S,S] in [-1, 1].
        noise: [N,C,S,S] or [1,C,S,S], the noise that the UNet was distilled with.
        t: timestep of the noise.
    """
    alpha_bar = alpha_bar_at(scheduler.alphas_cumprod, t, x_0)
    x_t = add_noise(x_0, noise, alpha_bar)
    t_each = torch.as_tensor(t, device=x_0.device).expand(x_0.shape[0])  # `len` would fix N in an export
    eps_pred = predict_eps(unet, scheduler, x_t, t_each)
    return DistilledPrediction(predict_x_0(x_t, eps_pred, alpha_bar).clamp(-1, 1), x_t)


def iterative_denoising(
    unet: Any,
    scheduler: Any,
    x_0: Tensor,
    noise_coarse: Tensor,
    t_coarse: int,
    num_inference_steps: int,
    generators: list[torch.Generator],
) -> Tensor:
    """Reconstruct by classical denoising, the paper's comparison: no norm guidance.

    Noise is added up to t_coarse; ancestral DDPM steps remove it.

    Args:
        unet: noise predictor as in `norm_guided_one_step`, called `num_inference_steps` times.
        scheduler: diffusers `DDPMScheduler`; copied, since taking steps changes it.
        x_0: [N,C,S,S] in [-1, 1].
        noise_coarse: [N,C,S,S] or [1,C,S,S], standard normal.
        t_coarse: timestep where denoising starts.
        num_inference_steps: number of steps, evenly spaced from t_coarse to 0; at most t_coarse.
        generators: N generators of the noise that each step adds; equal states give every picture the same
            noise.

    Returns:
        [N,C,S,S] in [-1, 1].
    """
    model_scheduler = scheduler
    scheduler = type(scheduler).from_config(scheduler.config, prediction_type="epsilon")
    timesteps = torch.linspace(t_coarse, 0, num_inference_steps + 1)[:-1].round().long()
    scheduler.set_timesteps(timesteps=timesteps.tolist(), device=x_0.device)
    x_t = add_noise(x_0, noise_coarse, alpha_bar_at(scheduler.alphas_cumprod, t_coarse, x_0))
    for t in scheduler.timesteps:
        eps_pred = predict_eps(unet, model_scheduler, x_t, t.expand(len(x_t)))
        x_t = scheduler.step(eps_pred, t, x_t, generator=generators).prev_sample
    return x_t.clamp(-1, 1)
