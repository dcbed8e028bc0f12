"""The training loop on a folder of small generated pictures, run as a user runs it."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusionad import DiffusionADPipeline
from training import train as training
from training.config import load_config
from training.networks import build_networks, moving_average
from training.run_folder import checkpoints
from training.sampling import SampleStream, SyntheticAnomalies

SMALL = [
    "data.image_size=32",
    "data.num_workers=0",
    "model.patch_size=2",
    "model.unet_channels=[16, 32]",
    "model.unet_attention_sizes=[]",
    "model.segmenter_channels=[8, 16]",
    "model.segmenter_stem_patch=1",
    "optim.batch_size=4",
    "optim.max_minutes=0",
    "optim.max_steps=8",
    "optim.precision=no",
    "log.checkpoint_steps=4",
    "log.validations=2",
    "log.samples=2",
]


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MVTec-AD layout: 16 noisy grey squares, and tests with a white corner."""
    root = tmp_path_factory.mktemp("data") / "squares"
    rng = np.random.default_rng(0)

    def write(path: Path, corner: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(90, 130, (40, 48, 3), dtype=np.uint8)
        if corner:
            pixels[:12, :12] = 255
        Image.fromarray(pixels).save(path)

    for i in range(16):
        write(root / "train/good" / f"{i:03d}.png")
    for i in range(4):
        write(root / "test/good" / f"{i:03d}.png")
        write(root / "test/corner" / f"{i:03d}.png", corner=True)
        mask = np.zeros((40, 48), np.uint8)
        mask[:12, :12] = 255
        (root / "ground_truth/corner").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / "ground_truth/corner" / f"{i:03d}_mask.png")
    return root


def command(data: Path, output: Path, *more: str, settings: list[str] = SMALL) -> list[str]:
    sets = [part for setting in settings for part in ("--set", setting)]
    start = [sys.executable, "-m", "training.train", "--data", str(data), "--output", str(output)]
    return [*start, "--preset", "tiny", *sets, *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def finished_run(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "straight"
    done = run(command(good_folder, output))
    assert done.returncode == 0, done.stderr
    return output


def test_a_run_writes_its_folder(finished_run: Path) -> None:
    for name in (
        "config.toml",
        "splits.json",
        "log.jsonl",
        "metrics.json",
        "scores.csv",
        "pipeline",
        "samples",
    ):
        assert (finished_run / name).exists(), name
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert 0 <= metrics["image_auroc"]["value"] <= 1
    assert metrics["calibration"]["n"] == 4
    assert metrics["steps"] == 8
    assert metrics["n_good"] == metrics["n_defective"] == 4
    assert len((finished_run / "scores.csv").read_text().splitlines()) == 9
    assert len(list((finished_run / "samples").glob("*.png"))) == 2
    assert not list(finished_run.rglob("*.partial"))


def test_the_three_sets_are_disjoint_and_listed_by_hash(finished_run: Path) -> None:
    sets = json.loads((finished_run / "splits.json").read_text())
    files = [entry["file"] for entries in sets.values() for entry in entries]
    assert len(files) == len(set(files)) == 16
    assert all(len(entry["sha256"]) == 64 for entries in sets.values() for entry in entries)


def test_the_run_is_a_calibrated_pipeline(finished_run: Path, good_folder: Path) -> None:
    pipeline = DiffusionADPipeline.from_pretrained(finished_run / "pipeline")
    assert pipeline.config.calibration["n"] == 5
    assert pipeline.config.calibration["rate"] == pytest.approx(1 / 6)
    result = pipeline(good_folder / "test/corner/000.png")
    assert result.anomaly_map[0].shape == (40, 48)


def test_no_line_of_the_saved_weights_names_our_training_code(finished_run: Path) -> None:
    for path in (finished_run / "pipeline").rglob("*"):
        if path.is_file():
            assert b"training." not in path.read_bytes(), path


def test_a_killed_run_resumes_bit_for_bit(good_folder: Path, finished_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    process = subprocess.Popen(
        command(good_folder, output), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (output / "checkpoint-4").is_dir() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for newer in checkpoints(output)[1:]:  # where the kill came too late
        for file in newer.iterdir():
            file.unlink()
        newer.rmdir()
    resumed = run(command(good_folder, output, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    straight = torch.load(finished_run / "checkpoint-8/state.pt", weights_only=True)
    again = torch.load(output / "checkpoint-8/state.pt", weights_only=True)
    for network in ("unet", "segmenter", "ema_unet", "ema_segmenter"):
        for name, weight in straight[network].items():
            assert torch.equal(weight, again[network][name]), f"{network}.{name}"


def test_a_half_written_checkpoint_is_never_resumed(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-8.partial").mkdir()
    (tmp_path / "checkpoint-8.partial/state.pt").write_bytes(b"half")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4"]


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(good_folder: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "optim.max_steps=100000", "data.num_workers=1", "log.checkpoint_steps=3"]
    arguments = command(good_folder, tmp_path / "run", settings=settings)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoint-3").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr and "Traceback" not in stderr
    state = torch.load(checkpoints(tmp_path / "run")[-1] / "state.pt", weights_only=True)
    assert state["step"] >= 3


def test_resume_with_other_settings_is_refused_and_shows_them(good_folder: Path, finished_run: Path) -> None:
    done = run(command(good_folder, finished_run, "--resume", "--seed", "5"))
    assert done.returncode == 2
    assert "optim.seed was 0, now 5" in done.stderr


def test_a_second_run_into_the_same_folder_is_refused(good_folder: Path, finished_run: Path) -> None:
    done = run(command(good_folder, finished_run))
    assert done.returncode == 2
    assert "holds a run already" in done.stderr


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: root.mkdir(), "holds no picture"),
        (lambda root: (root / "train").mkdir(parents=True), "no `train/good`"),
        (lambda root: None, "is not a folder"),
    ],
)
def test_data_that_cannot_work_is_one_clear_sentence(make, sentence: str, tmp_path: Path, capsys) -> None:
    make(tmp_path / "data")
    assert training.main(["--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_broken_pictures_are_listed_before_training_starts(good_folder: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for i, path in enumerate(sorted((good_folder / "train/good").iterdir())):
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[: len(data) // 2] if i in (3, 5) else data)
    assert training.main(["--data", str(folder), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "2 of 16" in error and "003.png" in error and "005.png" in error
    assert not (tmp_path / "run").exists()


def test_a_size_that_the_networks_cannot_halve_is_refused(good_folder: Path, tmp_path: Path, capsys) -> None:
    arguments = [
        "--data",
        str(good_folder),
        "--output",
        str(tmp_path / "run"),
        "--set",
        "data.image_size=250",
    ]
    assert training.main(arguments) == 2
    assert "use a multiple of" in capsys.readouterr().err


def test_a_diverging_run_stops_with_a_sentence(good_folder: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "optim.unet_lr=1e30", "optim.gradient_norm_max=1e30", "optim.warmup_steps=0"]
    done = run(command(good_folder, tmp_path / "run", settings=settings))
    assert done.returncode == 1
    assert "the loss became" in done.stderr and "unet_lr" in done.stderr


def test_the_stream_goes_on_where_it_stopped_whatever_the_number_of_processes() -> None:
    def take(n: int, **options: int) -> list[tuple[int, int]]:
        stream = iter(SampleStream(10, seed=3, **options))
        return [next(stream) for _ in range(n)]

    straight = take(35)
    assert take(15, start=20) == straight[20:]
    assert take(10, rank=0, world=2) == straight[0:20:2]
    assert take(10, rank=1, world=2) == straight[1:20:2]
    assert sorted(index for epoch, index in straight[:30]) == sorted([*range(10)] * 3)


def test_a_sample_depends_on_seed_epoch_and_index_alone(good_folder: Path) -> None:
    config = load_config("tiny", SMALL)
    paths = sorted((good_folder / "train/good").iterdir())
    one, two = (SyntheticAnomalies(paths, config, seed=7) for _ in range(2))
    two[0, 3]  # another history
    first, second, other = one[2, 5], two[2, 5], one[3, 5]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["noise_fine"], other["noise_fine"])
    assert not torch.equal(first["noise_fine"], first["noise_coarse"])
    assert first["x_0"].min() >= -1 and first["x_0"].max() <= 1


def test_timesteps_stay_in_their_ranges(good_folder: Path) -> None:
    config = load_config(
        "tiny", [*SMALL, "diffusion.train_t_fine=[5, 7]", "diffusion.train_t_coarse=[8, 10]"]
    )
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    drawn = [samples[epoch, 0] for epoch in range(20)]
    assert {int(d["t_fine"]) for d in drawn} == {5, 6}
    assert {int(d["t_coarse"]) for d in drawn} == {8, 9}


def test_detaching_the_reconstruction_changes_gradients_and_not_losses(good_folder: Path) -> None:
    config = load_config("tiny", [*SMALL, "optim.detach_reconstruction=false"])
    detached = load_config("tiny", [*SMALL, "optim.detach_reconstruction=true"])
    unet, scheduler, segmenter = build_networks(config)
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    batch = {k: torch.stack([samples[0, i][k] for i in range(8)]) for k in samples[0, 0]}
    assert 0 < batch["label"].sum() < 8
    losses = [training.training_step(batch, unet, segmenter, scheduler, c) for c in (config, detached)]
    for name in losses[0]:
        assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-4)
    gradients = []
    for loss in losses:
        unet.zero_grad()
        loss["segmentation"].backward()
        gradients.append(sum(p.grad.abs().sum().item() for p in unet.parameters() if p.grad is not None))
    assert gradients[0] > 0 and gradients[1] == 0


def test_the_moving_average_includes_batch_norm_statistics() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    average = moving_average(net, decay=0.9)
    average.update_parameters(net)
    before = average.module[1].running_mean.clone()
    net(torch.randn(8, 1, 4, 4) + 5)
    average.update_parameters(net)
    moved = (average.module[1].running_mean - before) / (net[1].running_mean - before)
    assert torch.allclose(moved, torch.full_like(moved, 1 - 2 / 11), atol=1e-5)
    assert average.module[1].num_batches_tracked == 1


def test_the_learning_rate_warms_up_and_falls_to_its_end() -> None:
    settings = [*SMALL, "optim.max_steps=100", "optim.warmup_steps=10", "optim.final_lr_fraction=0.1"]
    config = load_config("tiny", settings)
    factors = [training.learning_rate_factor(step, config) for step in (0, 9, 55, 100)]
    assert factors[0] == pytest.approx(0.1, rel=1e-2)
    assert factors[1] == pytest.approx(1, abs=0.03)
    assert factors[2] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.55)) / 2)
    assert factors[3] == pytest.approx(0.1)


def test_minutes_become_steps_once(good_folder: Path, tmp_path: Path) -> None:
    settings = [s for s in SMALL if not s.startswith(("optim.max_minutes", "log.checkpoint"))]
    done = run(command(good_folder, tmp_path / "run", "--max-minutes", "0.05", settings=settings))
    assert done.returncode == 0, done.stderr
    stored = load_config(str(tmp_path / "run/config.toml"))
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert stored.optim.max_steps == metrics["steps"] > 25
