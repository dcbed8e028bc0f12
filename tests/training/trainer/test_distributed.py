"""Two processes, and micro-batches, take the steps of one process with the whole batch."""

import json
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from small_runs import SMALL, arguments, write_squares
from torch.utils.data import default_collate
from warm_start import run

from training import train as training
from training.config.loader import load_config
from training.run_folder import read_log
from training.synthesis.dataset import SyntheticAnomalies
from training.trainer.distributed import check_statistics
from training.trainer.networks import build_networks
from training.trainer.steps import backward, training_step

# Dice and batch normalisation look at what goes through at a time: dividing the batch changes them.
DIVISIBLE = [
    *SMALL,
    "model.segmenter_norm=group",
    "optim.segmentation_loss=paper",
    "optim.batch_size=8",
    "optim.max_steps=3",
    "log.loss_steps=1",
    "log.validations=1",
]


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


def losses(output: Path) -> list[dict[str, float]]:
    names = ("noise", "segmentation", "gradient_norm")
    return [{name: row[name] for name in names} for row in read_log(output / "log.jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize("detach", ["true", "false"])
def test_two_processes_have_the_losses_of_one(good_folder: Path, tmp_path: Path, detach: str) -> None:
    settings = [*DIVISIBLE, f"optim.detach_reconstruction={detach}"]
    one = arguments(good_folder, tmp_path / "one", settings=settings)
    two = arguments(
        good_folder, tmp_path / "two", settings=[*settings, "optim.micro_batch_size=2"]
    )  # 2 processes x 2 micro-batches x 2 samples
    assert training.main(one) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = run([*launch, "-m", "training.train", *two])
    assert done.returncode == 0, done.stderr
    by_one, by_two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(by_one) == 3
    for ours, theirs in zip(by_one, by_two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert [m["processes"] for m in metrics] == [1, 2]
    assert metrics[0]["image_auroc"]["value"] == pytest.approx(metrics[1]["image_auroc"]["value"], abs=0.07)
    assert done.stdout.count("Done.") == 1


@pytest.mark.parametrize("detach", ["true", "false"])
def test_micro_batches_have_the_gradients_of_the_whole_batch(good_folder: Path, detach: str) -> None:
    config = load_config("tiny", [*DIVISIBLE, f"optim.detach_reconstruction={detach}"])
    torch.manual_seed(0)
    unet, scheduler, segmenter = build_networks(config)
    for net in (unet, segmenter):
        net.double()  # rounding of small gradients must not hide, or feign, a difference
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    drawn = sorted((samples[0, i] for i in range(8)), key=lambda sample: int(sample["label"]))
    normal = sum(int(sample["label"] == 0) for sample in drawn)
    assert normal % 2 or normal != 4  # some micro-batch must differ from the others
    gradients, found = [], []
    for size in (8, 2):
        unet.zero_grad()
        segmenter.zero_grad()
        batches = [default_collate(drawn[i : i + size]) for i in range(0, 8, size)]
        batches = [{k: v.double() if v.is_floating_point() else v for k, v in b.items()} for b in batches]
        found.append(
            backward(
                Accelerator(),
                batches,
                (unet, segmenter),
                config,
                lambda batch, count: training_step(batch, unet, segmenter, scheduler, config, count),
            )
        )
        gradients.append([p.grad.clone() for net in (unet, segmenter) for p in net.parameters()])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    for whole, divided in zip(*gradients, strict=True):
        assert torch.allclose(whole, divided, rtol=1e-6, atol=1e-9)


def test_batch_statistics_that_cannot_be_shared_are_refused() -> None:
    config = load_config("tiny")
    assert config.model.segmenter_norm == "batch"
    with pytest.raises(ValueError, match=r"`model.segmenter_norm` is 'batch'.*use 'group', or one process"):
        check_statistics(config, 2, "cpu")
    check_statistics(config, 2, "cuda")
    check_statistics(config, 1, "cpu")
