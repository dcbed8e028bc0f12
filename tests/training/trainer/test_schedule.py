"""Steps, learning rates and how a batch is divided."""

import math

import pytest
import torch

from training.config.schema import OptimConfig
from training.trainer.schedule import Portions, learning_rates, portions, spoken, steps_of_epochs


def test_the_learning_rate_warms_up_and_falls_to_its_end() -> None:
    optim = OptimConfig(max_steps=100, warmup_steps=10, final_lr_fraction=0.1, unet_lr=2.0, segmenter_lr=1.0)
    unet, segmenter = zip(*(learning_rates(step, optim) for step in (0, 9, 55, 100)), strict=True)
    assert unet[0] == pytest.approx(0.2, rel=1e-2)
    assert unet[1] == pytest.approx(2, abs=0.06)
    assert unet[2] == pytest.approx(2 * (0.1 + 0.9 * (1 + math.cos(math.pi * 0.55)) / 2))
    assert unet[3] == pytest.approx(0.2)
    assert segmenter == pytest.approx([rate / 2 for rate in unet])


def test_the_segmenters_cosine_is_the_one_that_the_authors_step_every_iteration() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=1e-5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0)
    optim = OptimConfig(max_steps=100, unet_lr=1e-4, segmenter_lr=1e-5, segmenter_cosine_steps=10)
    for step in range(45):
        unet, segmenter = learning_rates(step, optim)
        assert unet == 1e-4
        assert segmenter == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_batch_is_divided_over_processes_and_micro_batches() -> None:
    assert portions(OptimConfig(batch_size=16), 1) == Portions(process=16, micro_batch=16, count=1)
    assert portions(OptimConfig(batch_size=16, micro_batch_size=2), 4) == Portions(4, 2, 2)
    with pytest.raises(ValueError, match=r"`optim.batch_size` is 16.*multiple of 3"):
        portions(OptimConfig(batch_size=16), 3)
    with pytest.raises(ValueError, match=r"`optim.micro_batch_size` is 3.*divisor of 8"):
        portions(OptimConfig(batch_size=16, micro_batch_size=3), 2)
    with pytest.raises(ValueError, match=r"multiple of 4"):
        portions(OptimConfig(batch_size=2), 4)


def test_epochs_become_steps_that_show_every_picture_so_often() -> None:
    assert steps_of_epochs(OptimConfig(batch_size=16, max_epochs=3000), 209) == math.ceil(3000 * 209 / 16)


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (1500, "25 min"), (5399, "1 h 30 min"), (12000, "3 h 20 min")]
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
