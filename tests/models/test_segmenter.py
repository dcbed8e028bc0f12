"""The segmentation network: shapes, options, and the authors' network as one of its configurations."""

import official
import pytest
import torch
import torch.nn.functional as F
from places import GOLDEN
from torch.serialization import safe_globals

from diffusionad import AnomalySegmenter


def make_segmenter(**config) -> AnomalySegmenter:
    torch.manual_seed(0)
    return AnomalySegmenter(**{"block_out_channels": (8, 16, 24), **config}).eval()


def make_pair(n: int = 2, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(n, 3, size, size, generator=generator) * 2 - 1 for _ in range(2))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("stem_patch", [1, 2, 4])
@torch.no_grad()
def test_every_pixel_gets_one_logit(stem_patch, norm):
    segmenter = make_segmenter(stem_patch=stem_patch, norm=norm)
    logits = segmenter(*make_pair())
    assert logits.shape == (2, 1, 32, 32)
    assert logits.isfinite().all()
    assert segmenter.size_multiple == 4 * stem_patch


@torch.no_grad()
def test_outputs_are_logits_without_bounds():
    segmenter = make_segmenter()
    segmenter.conv_out.weight.mul_(100)
    logits = segmenter(*make_pair())
    assert logits.min() < -1 and logits.max() > 2


@torch.no_grad()
def test_picture_and_reconstruction_are_not_interchangeable():
    segmenter = make_segmenter()
    x_0, x_0_hat = make_pair()
    assert not torch.allclose(segmenter(x_0, x_0_hat), segmenter(x_0_hat, x_0), atol=1e-3)


def test_stem_patch_two_costs_about_a_quarter():
    def multiplications(stem_patch: int) -> int:
        segmenter = make_segmenter(stem_patch=stem_patch, block_out_channels=(32, 64, 96, 128))
        count = 0

        def add(conv, inputs, output):
            nonlocal count
            count += conv.weight.numel() * output[0, 0].numel()

        for module in segmenter.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(add)
        with torch.no_grad():
            segmenter(*make_pair(n=1, size=64))
        return count

    assert multiplications(2) / multiplications(1) == pytest.approx(0.25, abs=0.03)


def test_norm_is_what_it_is_called():
    def kinds(norm: str) -> set[type]:
        return {type(m) for m in make_segmenter(norm=norm).modules() if "Norm" in type(m).__name__}

    assert kinds("group") == {torch.nn.GroupNorm}
    assert kinds("batch") == {torch.nn.BatchNorm2d}


@torch.no_grad()
def test_group_norm_is_the_same_in_training_and_inference_and_alone():
    segmenter = make_segmenter()
    x_0, x_0_hat = make_pair()
    evaluated = segmenter(x_0, x_0_hat)
    torch.testing.assert_close(segmenter.train()(x_0, x_0_hat), evaluated, rtol=0, atol=1e-6)
    torch.testing.assert_close(segmenter(x_0[:1], x_0_hat[:1]), evaluated[:1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_widths_that_are_no_multiple_of_eight_work():
    assert make_segmenter(block_out_channels=(6, 10, 12))(*make_pair()).shape == (2, 1, 32, 32)


def test_every_weight_takes_part():
    segmenter = make_segmenter(stem_patch=2).train()
    segmenter(*make_pair()).square().mean().backward()
    assert [name for name, weight in segmenter.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("norm", ["group", "batch"])
@torch.no_grad()
def test_saved_and_loaded_it_gives_the_same_bits(tmp_path, norm):
    segmenter = make_segmenter(norm=norm, stem_patch=2).train()
    segmenter(*make_pair())  # moves the running statistics of BatchNorm off their defaults
    segmenter.eval().save_pretrained(tmp_path)
    loaded = AnomalySegmenter.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert loaded.config.norm == norm and loaded.config.stem_patch == 2
    assert not loaded.training
    assert torch.equal(loaded(*make_pair()), segmenter(*make_pair()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"norm": "layer"}, r"`norm` is 'layer'.*\"group\" or \"batch\""),
        ({"block_out_channels": (8,)}, r"`block_out_channels` is \(8,\).*two levels"),
        ({"stem_patch": 0}, r"`stem_patch` is 0"),
    ],
)
def test_bad_arguments_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        AnomalySegmenter(**config)


def test_its_module_is_the_package_since_that_is_a_file_format():
    assert AnomalySegmenter.__module__ == "diffusionad"


def official_name(name: str) -> str:
    """Our name of a weight -> the authors' name of it."""
    part, _, rest = name.partition(".")
    level, _, tail = rest.partition(".")
    if part == "encoder":
        return f"encoder_segment.block{int(level) + 1}.{tail}"
    suffix = "_b" if level == "0" else level
    if part == "decoder":
        return f"decoder_segment.db{suffix}.{tail}"
    if part == "up":  # theirs has the up-sampling as its first element
        index, _, kind = tail.partition(".")
        return f"decoder_segment.up{suffix}.{int(index) + 1}.{kind}"
    return f"decoder_segment.fin_out.0.{rest}"


def authors_forward(weights: dict[str, torch.Tensor], x_0, x_0_hat) -> torch.Tensor:
    """The authors' segmenter from its description, with their names of the weights; BatchNorm in training."""

    def conv_norm_relu(h, prefix: str, conv: int):
        h = F.conv2d(h, weights[f"{prefix}.{conv}.weight"], weights[f"{prefix}.{conv}.bias"], padding=1)
        norm = f"{prefix}.{conv + 1}"
        return F.batch_norm(
            h, None, None, weights[f"{norm}.weight"], weights[f"{norm}.bias"], training=True
        ).relu()

    def pair(h, prefix: str):
        return conv_norm_relu(conv_norm_relu(h, prefix, 0), prefix, 3)

    h = torch.cat([x_0, x_0_hat], dim=1)
    skips = [pair(h, "encoder_segment.block1")]
    for level in range(2, 7):
        skips.append(pair(F.max_pool2d(skips[-1], 2), f"encoder_segment.block{level}"))
    h = skips.pop()
    for suffix in ("_b", "1", "2", "3", "4"):
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
        h = conv_norm_relu(h, f"decoder_segment.up{suffix}", 1)
        h = pair(torch.cat([h, skips.pop()], dim=1), f"decoder_segment.db{suffix}")
    name = "decoder_segment.fin_out.0"
    return F.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)


@torch.no_grad()
def test_the_authors_architecture_is_one_configuration_of_ours():
    # In training mode: with the statistics of the batch, the input reaches the output even in random weights.
    segmenter = make_segmenter(block_out_channels=(4, 8, 16, 32, 32, 32), norm="batch").double().train()
    weights = {official_name(name): weight for name, weight in segmenter.state_dict().items()}
    pair = [x.double() for x in make_pair(n=3, size=96)]
    expected = authors_forward(weights, *pair)
    torch.testing.assert_close(segmenter(*pair), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    "find",
    [
        official.small_reference,
        pytest.param(
            official.authors_reference,
            marks=pytest.mark.skipif(
                not GOLDEN.is_dir(), reason=f"{GOLDEN.name} is not beside the repository"
            ),
        ),
    ],
    ids=["our record", "the authors' outputs"],
)
@torch.no_grad()
def test_a_checkpoint_of_the_authors_format_gives_the_recorded_map(find, tmp_path):
    reference = find(tmp_path)
    # The file's settings are a defaultdict, which torch unpickles only as something it knows.
    plain_dict = (lambda _factory: {}, "collections.defaultdict")
    with safe_globals([plain_dict, (str, "builtins.str")]):
        theirs = torch.load(reference.checkpoint, weights_only=True)["seg_model_state_dict"]
    widths = tuple(theirs[f"encoder_segment.block{level}.0.weight"].shape[0] for level in range(1, 7))

    segmenter = AnomalySegmenter(block_out_channels=widths, norm="batch").eval()
    weights = {name: theirs.pop(official_name(name)) for name in segmenter.state_dict()}
    assert theirs == {}, "weights of theirs without a place in ours"
    segmenter.load_state_dict(weights)

    tensors = reference.tensors
    anomaly_map = torch.sigmoid(segmenter(tensors["x_0"], tensors["x_0_hat"]))
    torch.testing.assert_close(anomaly_map, tensors["segmenter_map"], rtol=0, atol=1e-5)
    top = anomaly_map.flatten(1).topk(50).values.mean(1)
    torch.testing.assert_close(top, tensors["image_score_top50"], rtol=0, atol=1e-5)


def test_the_difference_is_a_third_picture_for_the_first_layer():
    torch.manual_seed(0)
    segmenter = AnomalySegmenter(block_out_channels=(8, 16), stem_patch=2, with_difference=True)
    assert segmenter.encoder[0][0].in_channels == 9 * 4
    x_0, x_0_hat = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        before = segmenter(x_0, x_0_hat)
        # Blind to both pictures, it still sees where they differ.
        segmenter.encoder[0][0].weight[:, : 6 * 4] = 0
        blind, same = segmenter(x_0, x_0_hat), segmenter(x_0, x_0)
    assert before.shape == (2, 1, 16, 16)
    assert not torch.equal(blind, same)
    assert torch.equal(segmenter(x_0_hat, x_0), blind)
