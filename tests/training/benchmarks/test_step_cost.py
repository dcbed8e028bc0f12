"""What a step costs: measured, and counted on paper."""

import json
from pathlib import Path

import pytest
from small_runs import SMALL

from training.benchmarks import memory, step_cost
from training.config.loader import load_config


def test_measuring_takes_real_steps_and_writes_them_down(tmp_path: Path) -> None:
    sets = [part for setting in SMALL for part in ("--set", setting)]
    words = ["--preset", "tiny", "--steps", "2", "--micro-batches", "2", *sets]
    step_cost.main([*words, "--output", str(tmp_path / "step.json")])
    report = json.loads((tmp_path / "step.json").read_text())
    assert len(report["seconds_per_step"]) == len(report["cpu_seconds_per_step"]) == 2
    assert report["losses"][0] != report["losses"][1]
    assert report["peak_memory_gb"] > 0.1
    assert report["command"].startswith(
        "python -m training.benchmarks.step_cost --preset tiny --micro-batch 1"
    )


def test_the_count_is_five_numbers_a_weight_and_what_backward_needs() -> None:
    config = load_config("tiny", [*SMALL, "optim.detach_reconstruction=false"])
    plain, checkpointed = (memory.count(config, way) for way in (False, True))
    small = load_config("tiny", [*SMALL, "optim.detach_reconstruction=false", "data.image_size=16"])
    assert plain["weights_gb"] == checkpointed["weights_gb"] == memory.count(small, False)["weights_gb"]
    assert plain["gb_per_sample"] > checkpointed["gb_per_sample"] > 0
    # Activations grow with the area; vectors of the time embedding do not.
    assert plain["gb_per_sample"] / memory.count(small, False)["gb_per_sample"] == pytest.approx(4, rel=0.25)
