"""The authors' networks in ours: sizes read off their weights, and where each of their weights belongs."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

Weights = dict[str, Tensor]

# Parts of their residual and attention blocks -> of diffusers' blocks.
_PARTS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "embed_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "proj_out": "to_out.0",
}
_WHOLES = {
    "time_embedding.1": "time_embedding.linear_1",
    "time_embedding.3": "time_embedding.linear_2",
    "down.0.0": "conv_in",
    "out.0": "norm_out",
    "out.2": "conv_out",
}


def unet_config(weights: Weights) -> dict[str, Any]:
    """Read the sizes of their UNet. The number of heads leaves no trace in the weights.

    The way up tells all: each level has `layers_per_block` + 1 blocks there, and all levels but the finest
    end with a second residual block, which doubles the picture.
    """
    blocks = [name for name in weights if re.fullmatch(r"up\.\d+\.0\.in_layers\.2\.weight", name)]
    doubling = [name for name in weights if re.fullmatch(r"up\.\d+\.[12]\.in_layers\.2\.weight", name)]
    levels = 1 + len(doubling)
    if not blocks or len(blocks) % levels or "down.0.0.weight" not in weights:
        raise ValueError("`unet_model_state_dict` is not the UNet of the authors' released code.")
    blocks_per_level = len(blocks) // levels
    first_blocks = [f"up.{level * blocks_per_level}" for level in reversed(range(levels))]
    return {
        "in_channels": weights["down.0.0.weight"].shape[1],
        "block_out_channels": tuple(weights[f"{b}.0.in_layers.2.weight"].shape[0] for b in first_blocks),
        "layers_per_block": blocks_per_level - 1,
        "attention_levels": tuple(
            level for level, block in enumerate(first_blocks) if f"{block}.1.to_qkv.weight" in weights
        ),
    }


def unet_weights(weights: Weights, heads_at: Callable[[int], int]) -> Iterator[tuple[str, Tensor]]:
    """Yield their UNet's weights by our names.

    Args:
        weights: by their names.
        heads_at: number of attention heads at a width.
    """
    for name, weight in weights.items():
        module, _, kind = name.rpartition(".")
        if module in _WHOLES:
            yield f"{_WHOLES[module]}.{kind}", weight
            continue
        found = re.fullmatch(r"((?:down\.\d+|middle|up\.\d+)\.\d+)\.(.+)", module)
        if found is None:
            raise ValueError(f"`unet_model_state_dict` has `{name}`, which the authors' UNet has not.")
        place, part = found.groups()
        if place.startswith("down"):  # their first is the convolution that we call conv_in
            _, index, rest = place.split(".")
            place = f"down.{int(index) - 1}.{rest}"
        if part == "to_qkv":
            # A 1x1 convolution whose output is [q, k, v] of the first head, then of the second, ...
            width = weight.shape[0] // 3
            parts = weight.reshape(heads_at(width), 3, -1, *weight.shape[1:2]).unbind(1)
            for q_k_or_v, values in zip("qkv", parts, strict=True):
                yield f"{place}.to_{q_k_or_v}.{kind}", values.flatten(0, 1)
        else:
            is_convolution_for_linear = part == "proj_out" and kind == "weight"
            yield (
                f"{place}.{_PARTS.get(part, part)}.{kind}",
                weight.flatten(1) if is_convolution_for_linear else weight,
            )


def segmenter_config(weights: Weights) -> dict[str, Any]:
    """Read the sizes of their segmenter."""
    widths: list[int] = []
    while (name := f"encoder_segment.block{len(widths) + 1}.0.weight") in weights:
        widths.append(weights[name].shape[0])
    if len(widths) < 2:
        raise ValueError("`seg_model_state_dict` is not the segmenter of the authors' released code.")
    in_channels = weights["encoder_segment.block1.0.weight"].shape[1]
    return {"in_channels": in_channels, "block_out_channels": tuple(widths), "norm": "batch"}


def segmenter_weights(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """Yield their segmenter's weights by our names."""
    for name, weight in weights.items():
        found = re.fullmatch(r"(?:en|de)coder_segment\.(block|up|db|fin_out)(\d+|_b)?\.(\d+)\.(\w+)", name)
        if found is None:
            raise ValueError(f"`seg_model_state_dict` has `{name}`, which the authors' segmenter has not.")
        part, level, layer, kind = found.groups()
        if part == "block":
            yield f"encoder.{int(level) - 1}.{layer}.{kind}", weight
        elif part == "fin_out":
            yield f"conv_out.{kind}", weight
        else:
            level = 0 if level == "_b" else int(level)
            # Theirs has the up-sampling itself as its first layer.
            layer = int(layer) - 1 if part == "up" else int(layer)
            yield f"{'up' if part == 'up' else 'decoder'}.{level}.{layer}.{kind}", weight


def load_weights(network: nn.Module, weights: Weights, name: str) -> None:
    """Copy weights into a network; each must find its place, and each place its weight.

    Args:
        network: ours.
        weights: by our names.
        name: what the checkpoint calls them, for errors.
    """
    places = network.state_dict()
    problems = sorted(places.keys() ^ weights.keys())
    problems += [k for k in places if k in weights and places[k].shape != weights[k].shape]
    if problems:
        raise ValueError(
            f"`{name}` does not fit the authors' network: {len(problems)} weights are missing, left over or "
            f"of another shape, such as the one for {problems[0]} in {type(network).__name__}."
        )
    network.load_state_dict(weights)
