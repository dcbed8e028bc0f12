"""Checkpoints in the authors' format with random weights, and their computation as plain functions.

Written from the description of their networks and kept apart from our classes, which are held against it. The
repository holds a record of what these functions compute for a small checkpoint; some machines also have a
checkpoint and outputs of the authors' own code. Write the record again, after a considered change, with

    python tests/official.py
"""

import math
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from places import GOLDEN
from safetensors.torch import load_file, save_file
from torch import Tensor

RECORD = Path(__file__).parent / "hub/fixtures/official_small.safetensors"


@dataclass(frozen=True)
class Size:
    """Sizes of a checkpoint; those of the fields that leave no trace in the weights are in its `args`."""

    image: int
    base: int
    multipliers: tuple[int, ...]
    attention: str  # feature sizes, as the authors write them
    segmenter_base: int
    heads: int = 4
    head_channels: int = -1
    layers: int = 2

    def has_attention(self, level: int) -> bool:
        return self.image // 2**level in [int(size) for size in self.attention.split(",")]

    def heads_at(self, width: int) -> int:
        return self.heads if self.head_channels == -1 else width // self.head_channels


SMALL = Size(image=32, base=32, multipliers=(1, 2), attention="16", segmenter_base=2)
AUTHORS = Size(image=32, base=32, multipliers=(1, 2, 3, 4), attention="32,16,8", segmenter_base=4)


@dataclass(frozen=True)
class Reference:
    """A checkpoint and its outputs.

    Attributes:
        checkpoint: file in the authors' format.
        size: sizes of its networks.
        tensors: `x_0` in [0, 1], `noise_fine` and `noise_coarse`; `unet_of_x_0_at_t200`, the UNet applied to
            x_0 itself; `x_0_fine`, `x_0_coarse` and `x_0_hat`, clamped; `segmenter_map` [N,1,S,S] after the
            sigmoid, and `image_score_top50` [N].
    """

    checkpoint: Path
    size: Size
    tensors: dict[str, Tensor]


def small_reference(folder: Path) -> Reference:
    """The record of this repository; its checkpoint is drawn again."""
    write_checkpoint(folder / "params-small.pt", SMALL)
    return Reference(folder / "params-small.pt", SMALL, load_file(RECORD))


def authors_reference(folder: Path) -> Reference:
    """Outputs of the authors' own code, where they are beside the repository."""
    return Reference(GOLDEN / "params-best.pt", AUTHORS, load_file(GOLDEN / "reference.safetensors"))


def write_checkpoint(path: Path, size: Size, **args: Any) -> dict[str, Any]:
    """Write and return a checkpoint; `args` replace its settings, those that are None are left out."""
    settings = {
        "img_size": [size.image, size.image],
        "T": 1000,
        "base_channels": size.base,
        "beta_schedule": "linear",
        "dropout": 0,
        "attention_resolutions": size.attention,
        "num_heads": size.heads,
        "num_head_channels": size.head_channels,
        "noise_fn": "gauss",
        "channels": 3,
        "condition_w": 1,
        "eval_normal_t": 200,
        "eval_noisier_t": 400,
        **args,
    }
    generator = torch.Generator().manual_seed(size.base + len(size.multipliers))
    checkpoint = {
        "n_epoch": 3,
        "unet_model_state_dict": _random_unet(size, generator),
        "seg_model_state_dict": _random_segmenter(size, generator),
        "args": defaultdict(str, {name: value for name, value in settings.items() if value is not None}),
    }
    torch.save(checkpoint, path)
    return checkpoint


def _fill(weights: dict[str, Tensor], name: str, shape: tuple[int, ...], generator: torch.Generator) -> None:
    """A layer whose output is about as large as its input."""
    scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.2
    weight = scale * torch.randn(shape, generator=generator)
    weights[f"{name}.weight"] = weight if len(shape) > 1 else 1 + weight
    weights[f"{name}.bias"] = 0.2 * torch.randn(shape[0], generator=generator)


def _random_unet(size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    time = 4 * size.base

    def fill(name: str, *shape: int) -> None:
        _fill(weights, name, shape, generator)

    def residual(name: str, w_in: int, w_out: int) -> None:
        fill(f"{name}.in_layers.0", w_in)
        fill(f"{name}.in_layers.2", w_out, w_in, 3, 3)
        fill(f"{name}.embed_layers.1", w_out, time)
        fill(f"{name}.out_layers.0", w_out)
        fill(f"{name}.out_layers.3", w_out, w_out, 3, 3)
        if w_in != w_out:
            fill(f"{name}.skip_connection", w_out, w_in, 1, 1)

    def attention(name: str, width: int) -> None:
        fill(f"{name}.norm", width)
        fill(f"{name}.to_qkv", 3 * width, width, 1)
        fill(f"{name}.proj_out", width, width, 1)

    fill("time_embedding.1", time, size.base)
    fill("time_embedding.3", time, time)
    fill("down.0.0", size.base, 3, 3, 3)
    width, skips, index = size.base, [size.base], 0
    for level, multiplier in enumerate(size.multipliers):
        for _ in range(size.layers):
            index += 1
            residual(f"down.{index}.0", width, multiplier * size.base)
            width = multiplier * size.base
            skips.append(width)
            if size.has_attention(level):
                attention(f"down.{index}.1", width)
        if level < len(size.multipliers) - 1:
            index += 1
            residual(f"down.{index}.0", width, width)
            skips.append(width)
    residual("middle.0", width, width)
    attention("middle.1", width)
    residual("middle.2", width, width)
    index = 0
    for level, multiplier in reversed(list(enumerate(size.multipliers))):
        for i in range(size.layers + 1):
            residual(f"up.{index}.0", width + skips.pop(), multiplier * size.base)
            width = multiplier * size.base
            if size.has_attention(level):
                attention(f"up.{index}.1", width)
            if level and i == size.layers:
                residual(f"up.{index}.{2 if size.has_attention(level) else 1}", width, width)
            index += 1
    fill("out.0", width)
    fill("out.2", 3, width, 3, 3)
    return weights


def _random_segmenter(size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}

    def conv_norm(name: str, index: int, w_in: int, w_out: int) -> None:
        _fill(weights, f"{name}.{index}", (w_out, w_in, 3, 3), generator)
        norm = f"{name}.{index + 1}"
        _fill(weights, norm, (w_out,), generator)
        weights[f"{norm}.running_mean"] = 0.2 * torch.randn(w_out, generator=generator)
        weights[f"{norm}.running_var"] = 0.2 + 0.2 * torch.rand(w_out, generator=generator)
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    def pair(name: str, w_in: int, w_out: int) -> None:
        conv_norm(name, 0, w_in, w_out)
        conv_norm(name, 3, w_out, w_out)

    widths = [m * size.segmenter_base for m in (1, 2, 4, 8, 8, 8)]
    for i, (w_in, width) in enumerate(zip([6, *widths[:-1]], widths, strict=True)):
        pair(f"encoder_segment.block{i + 1}", w_in, width)
    below = widths[-1]
    for suffix, skip, width in zip(
        ("_b", "1", "2", "3", "4"), widths[-2::-1], [*widths[-3::-1], widths[0]], strict=True
    ):
        conv_norm(f"decoder_segment.up{suffix}", 1, below, width)
        pair(f"decoder_segment.db{suffix}", width + skip, width)
        below = width
    _fill(weights, "decoder_segment.fin_out.0", (1, below, 3, 3), generator)
    return weights


def unet_forward(weights: dict[str, Tensor], size: Size, x: Tensor, t: Tensor) -> Tensor:
    """Their UNet: noise in `x` [B,3,S,S] at timesteps `t` [B]."""

    def layer(function: Any, h: Tensor, name: str, **options: Any) -> Tensor:
        return function(h, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def norm(h: Tensor, name: str) -> Tensor:
        return F.group_norm(h, 32, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def residual(h: Tensor, name: str, resize: Any = None) -> Tensor:
        skip, h = h, F.silu(norm(h, f"{name}.in_layers.0"))
        if resize:
            skip, h = resize(skip), resize(h)
        h = layer(F.conv2d, h, f"{name}.in_layers.2", padding=1)
        h = h + layer(F.linear, F.silu(time), f"{name}.embed_layers.1")[:, :, None, None]
        h = layer(F.conv2d, F.silu(norm(h, f"{name}.out_layers.0")), f"{name}.out_layers.3", padding=1)
        if f"{name}.skip_connection.weight" in weights:
            skip = layer(F.conv2d, skip, f"{name}.skip_connection")
        return skip + h

    def attention(h: Tensor, name: str) -> Tensor:
        n, width, *sides = h.shape
        heads = size.heads_at(width)
        flat = h.reshape(n, width, -1)
        qkv = layer(F.conv1d, norm(flat, f"{name}.norm"), f"{name}.to_qkv")
        q, k, v = qkv.reshape(n * heads, 3 * width // heads, -1).chunk(3, dim=1)
        scale = (width // heads) ** -0.25
        similarity = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(dim=-1)
        a = torch.einsum("bts,bcs->bct", similarity, v).reshape(n, width, -1)
        return (flat + layer(F.conv1d, a, f"{name}.proj_out")).reshape(n, width, *sides)

    half = size.base // 2
    angles = t[:, None] * 10000 ** (-torch.arange(half) / half)
    time = layer(F.linear, torch.cat([angles.sin(), angles.cos()], dim=1), "time_embedding.1")
    time = layer(F.linear, F.silu(time), "time_embedding.3")

    h = layer(F.conv2d, x, "down.0.0", padding=1)
    skips, index = [h], 0
    for level in range(len(size.multipliers)):
        for _ in range(size.layers):
            index += 1
            h = residual(h, f"down.{index}.0")
            h = attention(h, f"down.{index}.1") if size.has_attention(level) else h
            skips.append(h)
        if level < len(size.multipliers) - 1:
            index += 1
            h = residual(h, f"down.{index}.0", resize=lambda h: F.avg_pool2d(h, 2))
            skips.append(h)
    h = residual(attention(residual(h, "middle.0"), "middle.1"), "middle.2")
    index = 0
    for level in reversed(range(len(size.multipliers))):
        for i in range(size.layers + 1):
            h = residual(torch.cat([h, skips.pop()], dim=1), f"up.{index}.0")
            h = attention(h, f"up.{index}.1") if size.has_attention(level) else h
            if level and i == size.layers:
                name = f"up.{index}.{2 if size.has_attention(level) else 1}"
                h = residual(h, name, resize=lambda h: F.interpolate(h, scale_factor=2, mode="nearest"))
            index += 1
    return layer(F.conv2d, F.silu(norm(h, "out.0")), "out.2", padding=1)


def segmenter_forward(weights: dict[str, Tensor], x_0: Tensor, x_0_hat: Tensor) -> Tensor:
    """Their segmenter: the map [N,1,S,S] in [0, 1]."""

    def conv_norm_relu(h: Tensor, name: str, index: int) -> Tensor:
        h = F.conv2d(h, weights[f"{name}.{index}.weight"], weights[f"{name}.{index}.bias"], padding=1)
        norm = [weights[f"{name}.{index + 1}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(h, *norm).relu()

    def pair(h: Tensor, name: str) -> Tensor:
        return conv_norm_relu(conv_norm_relu(h, name, 0), name, 3)

    skips = [pair(torch.cat([x_0, x_0_hat], dim=1), "encoder_segment.block1")]
    for level in range(2, 7):
        skips.append(pair(F.max_pool2d(skips[-1], 2), f"encoder_segment.block{level}"))
    h = skips.pop()
    for suffix in ("_b", "1", "2", "3", "4"):
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
        h = conv_norm_relu(h, f"decoder_segment.up{suffix}", 1)
        h = pair(torch.cat([h, skips.pop()], dim=1), f"decoder_segment.db{suffix}")
    name = "decoder_segment.fin_out.0"
    return F.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).sigmoid()


def alpha_bars(args: dict[str, Any]) -> Tensor:
    """[T] float64; the authors' two schedules."""
    steps = args["T"]
    if args["beta_schedule"] == "linear":
        betas = torch.linspace(1e-4 * 1000 / steps, 2e-2 * 1000 / steps, steps, dtype=torch.float64)
    else:
        f = (
            ((torch.arange(steps + 1, dtype=torch.float64) / steps) + 0.008) / 1.008 * math.pi / 2
        ).cos() ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    return (1 - betas).cumprod(0)


@torch.no_grad()
def infer(
    checkpoint: dict[str, Any], size: Size, x_0: Tensor, noise_fine: Tensor, noise_coarse: Tensor
) -> dict[str, Tensor]:
    """Their inference with given noises, guidance in the paper's long form."""
    args, unet = checkpoint["args"], checkpoint["unet_model_state_dict"]

    def noised_and_noise(name: str, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha_bar = alpha_bars(args)[args[name]].float()
        x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise
        return alpha_bar, x_t, unet_forward(unet, size, x_t, torch.full((len(x_0),), args[name]))

    a, x_t, eps = noised_and_noise("eval_normal_t", noise_fine)
    a_coarse, x_t_coarse, eps_coarse = noised_and_noise("eval_noisier_t", noise_coarse)
    x_0_fine = (x_t - (1 - a).sqrt() * eps) / a.sqrt()
    x_0_coarse = ((x_t_coarse - (1 - a_coarse).sqrt() * eps_coarse) / a_coarse.sqrt()).clamp(-1, 1)
    renoised = a.sqrt() * x_0_coarse + (1 - a).sqrt() * eps
    eps = eps - (1 - a).sqrt() * args["condition_w"] * (renoised - x_t)
    x_0_hat = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    anomaly_map = segmenter_forward(checkpoint["seg_model_state_dict"], x_0, x_0_hat)
    return {
        "x_0_fine": x_0_fine.clamp(-1, 1),
        "x_0_coarse": x_0_coarse,
        "x_0_hat": x_0_hat,
        "map": anomaly_map[:, 0],
        "score": anomaly_map.flatten(1).topk(50).values.mean(1),
    }


def make_inputs(side: int, n: int = 2) -> list[Tensor]:
    """Smooth pictures in [0, 1] and the noises of both scales, [N,3,side,side] each."""
    generator = torch.Generator().manual_seed(5)
    smooth = F.interpolate(torch.rand(n, 3, 4, 4, generator=generator), size=side, mode="bicubic").clamp(0, 1)
    return [smooth, *(torch.randn(n, 3, side, side, generator=generator) for _ in range(2))]


def compute(checkpoint: dict[str, Any], size: Size, inputs: list[Tensor]) -> dict[str, Tensor]:
    """The tensors of a `Reference`."""
    found = infer(checkpoint, size, *inputs)
    t = torch.full((len(inputs[0]),), 200)
    return {
        **dict(zip(("x_0", "noise_fine", "noise_coarse"), inputs, strict=True)),
        "unet_of_x_0_at_t200": unet_forward(checkpoint["unet_model_state_dict"], size, inputs[0], t),
        **{name: found[name] for name in ("x_0_fine", "x_0_coarse", "x_0_hat")},
        "segmenter_map": found["map"][:, None],
        "image_score_top50": found["score"],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_checkpoint(Path(folder) / "params.pt", SMALL)
    RECORD.parent.mkdir(exist_ok=True)
    save_file(compute(drawn, SMALL, make_inputs(SMALL.image)), RECORD)
