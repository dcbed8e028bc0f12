"""The preset for two cores, for a few minutes, on rendered pictures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.demo.render import write_category


@pytest.mark.slow
def test_a_hundred_and_fifty_steps_of_the_tiny_presets_unet_already_repair_a_fabric(tmp_path: Path) -> None:
    data = write_category(
        tmp_path, "fabric", 0, size=128, train=60, normal=0, verify=0, good=12, defective=12, workers=2
    )
    settings = ["data.shorter_side=128", "optim.max_minutes=0", "optim.max_steps=190", "log.validations=2"]
    settings += ["optim.unet_steps=150"]
    sets = [part for setting in settings for part in ("--set", setting)]
    start = [sys.executable, "-m", "training.train", "--data", str(data), "--output", str(tmp_path / "run")]
    subprocess.run([*start, "--preset", "tiny", *sets], check=True, timeout=1200)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    # A UNet that predicts noise through the same 64 channels stays below 18 dB after twice as many steps.
    assert metrics["reconstruction"]["psnr_normal_db"] > 20
    for loss in ("noise", "segmentation"):  # one phase each
        values = [row[loss] for row in rows if loss in row]
        assert len(values) >= 2 and values[-1] < values[0], loss
