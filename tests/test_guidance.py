"""The paper's formulas: the short form of the code against the long form of the paper."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel

from diffusionad.guidance import (
    add_noise,
    alpha_bar_at,
    guide,
    iterative_denoising,
    norm_guided_one_step,
    patch_size_of,
    predict_eps,
    predict_x_0,
)

SCHEDULER = DDPMScheduler()


class CountingUNet:
    """A real UNet that remembers how it was called."""

    def __init__(self, unet: UNet2DModel):
        self.unet, self.config, self.dtype = unet, unet.config, unet.dtype
        self.calls: list[tuple[torch.Size, torch.Tensor]] = []

    def __call__(self, sample, timesteps):
        self.calls.append((sample.shape, timesteps))
        return self.unet(sample, timesteps)


def make_unet(patch_size: int, dtype: torch.dtype = torch.float64) -> UNet2DModel:
    torch.manual_seed(patch_size)
    channels = 3 * patch_size**2
    unet = UNet2DModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return unet.eval().to(dtype)


def draw(n: int = 3, size: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures in [-1, 1] and two independent noises, [n,3,size,size] float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 3, size, size)
    x_0 = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return x_0, *(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))


def paper_long_form(unet, x_0, noise_fine, noise_coarse, t_fine, t_coarse, w):
    """DiffusionAD, norm-guided one-step denoising, step by step and without any substitution."""
    alpha_bar_fine = SCHEDULER.alphas_cumprod[t_fine].double()
    alpha_bar_coarse = SCHEDULER.alphas_cumprod[t_coarse].double()
    x_t = math.sqrt(alpha_bar_fine) * x_0 + math.sqrt(1 - alpha_bar_fine) * noise_fine
    x_t_coarse = math.sqrt(alpha_bar_coarse) * x_0 + math.sqrt(1 - alpha_bar_coarse) * noise_coarse
    eps_fine = predict_eps(unet, SCHEDULER, x_t, torch.full((len(x_0),), t_fine))
    eps_coarse = predict_eps(unet, SCHEDULER, x_t_coarse, torch.full((len(x_0),), t_coarse))
    x_0_coarse = (x_t_coarse - math.sqrt(1 - alpha_bar_coarse) * eps_coarse) / math.sqrt(alpha_bar_coarse)
    x_t_tilde = math.sqrt(alpha_bar_fine) * x_0_coarse.clamp(-1, 1) + math.sqrt(1 - alpha_bar_fine) * eps_fine
    eps_corrected = eps_fine - math.sqrt(1 - alpha_bar_fine) * w * (x_t_tilde - x_t)
    x_0_hat = (x_t - math.sqrt(1 - alpha_bar_fine) * eps_corrected) / math.sqrt(alpha_bar_fine)
    return x_0_hat.clamp(-1, 1)


@pytest.mark.parametrize("w", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(("t_fine", "t_coarse"), [(200, 400), (0, 300), (299, 999), (50, 51)])
@torch.no_grad()
def test_guidance_equals_the_paper_form(t_fine, t_coarse, w):
    unet = make_unet(1)
    pictures = draw()
    expected = paper_long_form(unet, *pictures, t_fine, t_coarse, w)
    x_0_hat = norm_guided_one_step(unet, SCHEDULER, *pictures, t_fine, t_coarse, w).x_0_hat
    torch.testing.assert_close(x_0_hat, expected, rtol=0, atol=1e-12)
    assert x_0_hat.std() > 0.1, "clamped to a constant: this would prove nothing"


def test_guidance_clamps_the_coarse_prediction_and_not_the_fine_one():
    x_0_fine, x_0_coarse = torch.full((1, 3, 2, 2), 1.6), torch.full((1, 3, 2, 2), -7.0)
    x_0_hat = guide(x_0_fine, x_0_coarse, torch.tensor(0.6).reshape(1, 1, 1, 1), 1.0)
    torch.testing.assert_close(x_0_hat, torch.full_like(x_0_hat, 0.6 * 1.6 - 0.4))


def test_coarse_scale_has_a_weight_of_0344_at_t_200():
    alpha_bar = alpha_bar_at(SCHEDULER.alphas_cumprod, 200, torch.zeros(1))
    weight = guide(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), alpha_bar, 1.0)
    torch.testing.assert_close(weight, torch.full_like(weight, 0.344), rtol=0, atol=5e-4)


@torch.no_grad()
def test_guidance_weight_zero_gives_the_fine_prediction():
    step = norm_guided_one_step(make_unet(1), SCHEDULER, *draw(), 200, 400, 0.0)
    torch.testing.assert_close(step.x_0_hat, step.x_0_fine.clamp(-1, 1), rtol=0, atol=0)


def test_perfect_noise_prediction_recovers_the_picture():
    x_0, noise_fine, noise_coarse = draw()
    true_eps = torch.cat([noise_fine, noise_coarse])
    step = norm_guided_one_step(
        lambda sample, timesteps: SimpleNamespace(sample=true_eps),
        SCHEDULER,
        x_0,
        noise_fine,
        noise_coarse,
        200,
        400,
        1.0,
    )
    for recovered in (step.x_0_hat, step.x_0_fine, step.x_0_coarse):
        torch.testing.assert_close(recovered, x_0, rtol=0, atol=1e-12)


@torch.no_grad()
def test_both_scales_share_one_unet_call_the_fine_one_first():
    unet = CountingUNet(make_unet(2))
    x_0, noise_fine, noise_coarse = draw(n=3)
    step = norm_guided_one_step(unet, SCHEDULER, x_0, noise_fine, noise_coarse, 200, 400, 1.0)
    [(shape, timesteps)] = unet.calls
    assert shape == (6, 12, 8, 8)
    assert timesteps.tolist() == [200] * 3 + [400] * 3
    alpha_bar = SCHEDULER.alphas_cumprod[[200, 400]].double()
    torch.testing.assert_close(
        step.x_t[:3], alpha_bar[0].sqrt() * x_0 + (1 - alpha_bar[0]).sqrt() * noise_fine
    )
    torch.testing.assert_close(
        step.x_t[3:], alpha_bar[1].sqrt() * x_0 + (1 - alpha_bar[1]).sqrt() * noise_coarse
    )
    assert step.eps_pred.shape == step.x_t.shape == (6, 3, 16, 16)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@torch.no_grad()
def test_the_unet_sees_blocks_of_pixels_as_channels(patch_size):
    unet = make_unet(patch_size)
    x_t, *_ = draw(n=2)
    t = torch.tensor([10, 700])
    eps_pred = predict_eps(unet, SCHEDULER, x_t, t)
    expected = F.pixel_shuffle(unet(F.pixel_unshuffle(x_t, patch_size), t).sample, patch_size)
    assert patch_size_of(unet, 3) == patch_size
    torch.testing.assert_close(eps_pred, expected, rtol=0, atol=0)
    assert norm_guided_one_step(unet, SCHEDULER, *draw(), 200, 400, 1.0).x_0_hat.shape == (3, 3, 16, 16)


def test_channels_that_fit_no_patch_size_are_refused():
    with pytest.raises(ValueError, match=r"`unet` takes 6 channels.*`in_channels` = 3, 12 or 48"):
        patch_size_of(SimpleNamespace(config=SimpleNamespace(in_channels=6)), 3)


@torch.no_grad()
def test_each_picture_may_have_its_own_timesteps():
    unet = make_unet(1)
    x_0, noise_fine, noise_coarse = draw(n=3)
    t_fine, t_coarse = torch.tensor([3, 200, 299]), torch.tensor([300, 400, 999])
    together = norm_guided_one_step(unet, SCHEDULER, x_0, noise_fine, noise_coarse, t_fine, t_coarse, 1.0)
    for i in range(3):
        one = slice(i, i + 1)
        alone = norm_guided_one_step(
            unet,
            SCHEDULER,
            x_0[one],
            noise_fine[one],
            noise_coarse[one],
            int(t_fine[i]),
            int(t_coarse[i]),
            1.0,
        )
        torch.testing.assert_close(together.x_0_hat[one], alone.x_0_hat, rtol=0, atol=1e-12)


@torch.no_grad()
def test_one_noise_for_all_pictures_equals_the_noise_repeated():
    unet = make_unet(1)
    x_0, noise_fine, noise_coarse = draw(n=3)
    shared = noise_fine[:1], noise_coarse[:1]
    repeated = [eps.expand(3, -1, -1, -1).contiguous() for eps in shared]
    a = norm_guided_one_step(unet, SCHEDULER, x_0, *shared, 200, 400, 1.0)
    b = norm_guided_one_step(unet, SCHEDULER, x_0, *repeated, 200, 400, 1.0)
    torch.testing.assert_close(a.x_0_hat, b.x_0_hat, rtol=0, atol=0)


def test_add_noise_equals_the_schedulers():
    x_0, eps, _ = draw()
    t = torch.tensor([0, 200, 999])
    ours = add_noise(x_0, eps, alpha_bar_at(SCHEDULER.alphas_cumprod, t, x_0))
    torch.testing.assert_close(ours, SCHEDULER.add_noise(x_0, eps, t), rtol=0, atol=1e-12)


def test_predict_x_0_undoes_add_noise():
    x_0, eps, _ = draw()
    alpha_bar = alpha_bar_at(SCHEDULER.alphas_cumprod, torch.tensor([0, 400, 999]), x_0)
    x_t = add_noise(x_0, eps, alpha_bar)
    torch.testing.assert_close(predict_x_0(x_t, eps, alpha_bar), x_0, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_unet_in_bfloat16_leaves_the_arithmetic_in_the_dtype_of_the_picture():
    pictures = [x.float() for x in draw()]
    step = norm_guided_one_step(make_unet(1, torch.bfloat16), SCHEDULER, *pictures, 200, 400, 1.0)
    assert {x.dtype for x in step} == {torch.float32}


@torch.no_grad()
def test_iterative_denoising_equals_a_plain_ddpm_loop():
    unet = make_unet(2)
    x_0, _, noise = draw(n=1)
    scheduler = DDPMScheduler()
    timesteps = [400, 300, 200, 100]
    scheduler.set_timesteps(timesteps=timesteps)
    generator = torch.Generator().manual_seed(5)
    x_t = scheduler.add_noise(x_0, noise, torch.tensor([400]))
    for t in timesteps:
        eps_pred = F.pixel_shuffle(unet(F.pixel_unshuffle(x_t, 2), t).sample, 2)
        x_t = scheduler.step(eps_pred, t, x_t, generator=generator).prev_sample
    ours = iterative_denoising(
        unet, SCHEDULER, x_0, noise, 400, len(timesteps), [torch.Generator().manual_seed(5)]
    )
    torch.testing.assert_close(ours, x_t.clamp(-1, 1), rtol=0, atol=1e-10)
    assert ours.std() > 0.1


@torch.no_grad()
def test_equal_generators_give_every_picture_the_same_noise_in_iterative_denoising():
    unet = make_unet(2)
    x_0, _, noise = draw(n=1)
    twins = x_0.expand(2, -1, -1, -1)
    equal = [torch.Generator().manual_seed(5) for _ in range(2)]
    a, b = iterative_denoising(unet, SCHEDULER, twins, noise, 400, 3, equal)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    unequal = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    a, b = iterative_denoising(unet, SCHEDULER, twins, noise, 400, 3, unequal)
    assert (a - b).abs().max() > 0.01


@torch.no_grad()
def test_iterative_denoising_leaves_the_scheduler_as_it_was():
    scheduler = DDPMScheduler()
    before = scheduler.timesteps.clone()
    x_0, _, noise = draw(n=1)
    iterative_denoising(make_unet(1), scheduler, x_0, noise, 400, 2, [torch.Generator()])
    assert torch.equal(scheduler.timesteps, before)


class PredictsX0:
    """Stands for a perfect UNet whose scheduler says "sample": it gives back the clean pictures."""

    def __init__(self, x_0):
        self.answer = torch.cat([x_0, x_0])

    def __call__(self, sample, t):
        return SimpleNamespace(sample=self.answer)


def test_a_unet_that_predicts_x_0_gives_the_eps_that_was_drawn():
    scheduler = DDPMScheduler(prediction_type="sample")
    x_0, noise_fine, noise_coarse = draw()
    step = norm_guided_one_step(PredictsX0(x_0), scheduler, x_0, noise_fine, noise_coarse, 200, 400, 1.0)
    torch.testing.assert_close(step.eps_pred, torch.cat([noise_fine, noise_coarse]), rtol=0, atol=1e-12)
    torch.testing.assert_close(step.x_0_hat, x_0.clamp(-1, 1), rtol=0, atol=1e-12)


def test_both_ways_to_predict_are_the_same_network_seen_from_two_sides():
    """Predicting eps, wrapped to predict x_0, leads to the same reconstruction, in one step and in more."""
    unet, sample = make_unet(1), DDPMScheduler(prediction_type="sample")

    def as_x_0(x_t, t):
        alpha_bar = alpha_bar_at(SCHEDULER.alphas_cumprod, t, x_t)
        return SimpleNamespace(sample=predict_x_0(x_t, unet(x_t, t).sample, alpha_bar))

    pictures = draw(n=2)
    with torch.no_grad():
        one, two = (
            norm_guided_one_step(net, scheduler, *pictures, 200, 400, 1.0).x_0_hat
            for net, scheduler in ((unet, SCHEDULER), (as_x_0, sample))
        )
        many = [
            iterative_denoising(
                net, s, *pictures[::2], 400, 4, [torch.Generator().manual_seed(1) for _ in range(2)]
            )
            for net, s in ((unet, SCHEDULER), (as_x_0, sample))
        ]
    torch.testing.assert_close(two, one, rtol=0, atol=1e-10)
    torch.testing.assert_close(many[1], many[0], rtol=0, atol=1e-10)
