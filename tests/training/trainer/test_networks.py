"""Fresh networks, as a config describes them."""

import pytest
import torch
from small_runs import SMALL

from training.config.loader import load_config
from training.trainer.networks import build_networks


@pytest.mark.parametrize("prior", [0.01, 0.05])
def test_a_fresh_segmenter_says_its_prior_where_no_feature_fires(prior: float) -> None:
    _, _, segmenter = build_networks(load_config("tiny", [*SMALL, f"model.segmenter_prior={prior}"]))
    with torch.no_grad():
        for layer in segmenter.decoder[-1]:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.zero_()
        logits = segmenter(*torch.rand(2, 2, 3, 32, 32).unbind(0))
    assert torch.allclose(torch.sigmoid(logits), torch.tensor(prior), atol=1e-6)


def test_without_a_prior_the_bias_stays_as_it_is_drawn() -> None:
    torch.manual_seed(0)
    *_, one = build_networks(load_config("tiny", [*SMALL, "model.segmenter_prior=0.5"]))
    assert one.conv_out.bias.abs().min() > 0
