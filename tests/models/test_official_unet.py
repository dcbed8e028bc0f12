"""The authors' UNet as one of our components; that it computes what theirs does is in test_hub_import.py."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffusionad import AnomalySegmenter, DiffusionADPipeline, OfficialUNet

TINY = {"block_out_channels": (32, 64), "layers_per_block": 1, "attention_levels": (1,)}


def make_unet(**config) -> OfficialUNet:
    torch.manual_seed(0)
    return OfficialUNet(**{**TINY, **config}).eval()


@pytest.fixture
def pipeline() -> DiffusionADPipeline:
    return DiffusionADPipeline(
        make_unet(),
        DDPMScheduler(),
        AnomalySegmenter(block_out_channels=(8, 16)),
        image_size=32,
        input_range=(0.0, 1.0),
    )


def test_a_pipeline_with_it_is_saved_and_loaded_with_the_same_bits(pipeline, make_pictures, tmp_path):
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"] == ["diffusionad", "OfficialUNet"]
    loaded = DiffusionADPipeline.from_pretrained(tmp_path)
    assert type(loaded.unet) is OfficialUNet and not loaded.unet.training
    pictures = make_pictures(3, side=40)
    expected = pipeline(pictures, output_type="np")
    found = loaded(pictures, output_type="np")
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.reconstruction, expected.reconstruction)
    half = DiffusionADPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    np.testing.assert_allclose(half(pictures).score, expected.score, atol=0.02)


def test_a_picture_gets_the_same_bits_alone_and_in_a_batch(pipeline, make_pictures):
    pictures = make_pictures(3, side=32)
    together = pipeline(pictures).score
    np.testing.assert_array_equal([pipeline(picture).score[0] for picture in pictures], together)


def test_the_pipeline_knows_what_sizes_it_takes(pipeline):
    assert pipeline.config.patch_size == 1
    with pytest.raises(ValueError, match=r"`image_size` is 36; `unet` halves pictures .* multiple of 8"):
        DiffusionADPipeline(
            make_unet(block_out_channels=(32, 32, 32, 32)),
            pipeline.scheduler,
            pipeline.segmenter,
            image_size=36,
        )


@torch.no_grad()
def test_a_timestep_may_be_one_for_all():
    unet, x = make_unet(), torch.randn(2, 3, 16, 16)
    expected = unet(x, torch.tensor([7, 7])).sample
    assert torch.equal(unet(x, 7).sample, expected) and torch.equal(unet(x, torch.tensor(7)).sample, expected)


def test_every_weight_takes_part():
    unet = make_unet(attention_levels=(0,)).train()
    unet(torch.randn(2, 3, 16, 16), torch.tensor([3, 700])).sample.square().mean().backward()
    assert [name for name, weight in unet.named_parameters() if weight.grad is None] == []


@torch.no_grad()
def test_the_number_of_heads_is_the_same_at_every_width_or_follows_from_it():
    assert [make_unet().heads_at(width) for width in (32, 64)] == [4, 4]
    assert [make_unet(attention_head_dim=16).heads_at(width) for width in (32, 64)] == [2, 4]
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([5])
    outputs = [make_unet(num_attention_heads=heads)(x, t).sample for heads in (1, 4)]
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"block_out_channels": (32, 48)}, r"`block_out_channels` is \(32, 48\); use multiples of 32"),
        ({"num_attention_heads": 3}, r"`num_attention_heads` is 3, which does not divide the width 64"),
        ({"attention_head_dim": 24}, r"`attention_head_dim` is 24, which does not divide the width 64"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        make_unet(**config)


def test_its_module_is_the_package_since_that_is_a_file_format():
    assert OfficialUNet.__module__ == "diffusionad"
