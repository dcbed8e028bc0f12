"""The training loop on a folder of small generated pictures, run as a user runs it."""

import json
import math
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import warm_start
from PIL import Image
from safetensors import safe_open
from small_runs import SMALL, arguments, command, write_squares
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import default_collate
from warm_start import run

from diffusionad import DiffusionADPipeline
from diffusionad.guidance import add_noise, alpha_bar_at, predict_x_0
from training import train as training
from training.config.loader import load_config
from training.run_folder import checkpoints, drop_checkpoints_after, read_log
from training.synthesis.dataset import SampleStream, SyntheticAnomalies
from training.trainer import sanity_check
from training.trainer.curves import published_step
from training.trainer.distributed import with_native_precision
from training.trainer.networks import build_networks, moving_average
from training.trainer.sanity_check import check_compiled
from training.trainer.steps import has_noise_loss, noise_target, training_step
from training.trainer.validation import Validation


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


# Each optimiser step in two micro-batches, so that a kill may come between them.
DIVIDED = [*SMALL, "optim.micro_batch_size=2", "log.loss_steps=1"]


@pytest.fixture(scope="module")
def finished_run(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "straight"
    done = run(command(good_folder, output, settings=DIVIDED))
    assert done.returncode == 0, done.stderr
    return output


def equal(one: object, two: object) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def test_a_run_writes_its_folder(finished_run: Path) -> None:
    for name in (
        "config.toml",
        "splits.json",
        "log.jsonl",
        "curves.png",
        "metrics.json",
        "scores.csv",
        "pipeline",
        "samples",
    ):
        assert (finished_run / name).exists(), name
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert 0 <= metrics["image_auroc"]["value"] <= 1
    assert metrics["calibration"]["n"] == 5
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
    files = [path for path in (finished_run / "pipeline").rglob("*") if path.is_file()]
    assert {"model_index.json", "diffusion_pytorch_model.safetensors"} <= {path.name for path in files}
    for path in files:
        assert b"training." not in path.read_bytes(), path


def test_a_killed_run_resumes_bit_for_bit(good_folder: Path, finished_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    process = warm_start.start(
        command(good_folder, output, settings=DIVIDED),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 400
    while not (output / "checkpoint-4").is_dir() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    drop_checkpoints_after(output, 4)  # where the kill came too late
    assert checkpoints(output)[-1].name == "checkpoint-4"
    resumed = run(command(good_folder, output, "--resume", settings=DIVIDED))
    assert resumed.returncode == 0, resumed.stderr
    straight, again = (
        torch.load(folder / "checkpoint-8/state.pt", weights_only=True) for folder in (finished_run, output)
    )
    for name in straight.keys() - {"seconds"}:
        assert equal(straight[name], again[name]), name
    rows, rows_again = (read_log(folder / "log.jsonl") for folder in (finished_run, output))
    assert [row["step"] for row in rows_again] == [1, 2, 3, 4, 5, 6, 7, 8]
    for row, row_again in zip(rows, rows_again, strict=True):
        assert {**row, "minutes": 0} == {**row_again, "minutes": 0}


def test_a_half_written_checkpoint_is_never_resumed(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-8.partial").mkdir()
    (tmp_path / "checkpoint-8.partial/state.pt").write_bytes(b"half")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4"]


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(good_folder: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "optim.max_steps=100000", "data.num_workers=1", "log.checkpoint_steps=3"]
    arguments = command(good_folder, tmp_path / "run", settings=settings)
    process = warm_start.start(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 400
    while not (tmp_path / "run/checkpoint-3").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr and "Traceback" not in stderr
    state = torch.load(checkpoints(tmp_path / "run")[-1] / "state.pt", weights_only=True)
    assert state["step"] >= 3


def test_resume_with_other_settings_is_refused_and_shows_them(
    good_folder: Path, finished_run: Path, capsys
) -> None:
    words = arguments(good_folder, finished_run, "--resume", "--seed", "5", settings=DIVIDED)
    assert training.main(words) == 2
    error = capsys.readouterr().err
    assert "optim.seed was 0, now 5" in error and "batch_size" not in error


def test_resume_with_other_pictures_is_refused_and_names_them(
    good_folder: Path, finished_run: Path, tmp_path: Path, capsys
) -> None:
    data, output = tmp_path / "squares", tmp_path / "run"
    shutil.copytree(good_folder, data)
    words = arguments(data, output, "--max-steps", "1")
    assert training.main(words) == 0
    Image.linear_gradient("L").save(data / "train/good/007.png")
    assert training.main([*words, "--resume"]) == 2
    error = capsys.readouterr().err
    assert "007.png has changed" in error and "006.png" not in error


def test_a_second_run_into_the_same_folder_is_refused(good_folder: Path, finished_run: Path, capsys) -> None:
    assert training.main(arguments(good_folder, finished_run)) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_sentence(good_folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert training.main(arguments(good_folder, tmp_path / "file/run")) == 2
    error = capsys.readouterr().err
    assert "`--output`" in error and "cannot be written" in error and "choose another folder" in error


def test_a_batch_that_does_not_fit_into_memory_says_what_to_change(
    good_folder: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*inputs: object) -> None:
        raise torch.OutOfMemoryError("as CUDA says it")

    monkeypatch.setattr(sanity_check, "training_step", full)
    assert training.main(arguments(good_folder, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "optim.micro_batch_size" in error and "optim.gradient_checkpointing" in error
    assert not (tmp_path / "run/config.toml").exists()


def test_what_would_fail_at_the_first_validation_fails_before_the_first_step(
    good_folder: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*inputs: object, **settings: object) -> None:
        raise ValueError("no panel can be drawn")

    monkeypatch.setattr(Validation, "panels", broken)
    assert training.main(arguments(good_folder, tmp_path / "run")) == 2
    assert "no panel can be drawn" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_the_last_weights_that_validation_cannot_tell_from_the_best_are_published(
    good_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    criteria = iter((0.40, 0.50, 0.49, 0.47))  # after steps 2, 4, 6 and 8
    measure = Validation.run
    monkeypatch.setattr(Validation, "run", lambda *inputs: {**measure(*inputs), "criterion": next(criteria)})
    often = ["log.validations=4", "log.checkpoint_steps=2", "log.keep_checkpoints=9"]
    settings = [*SMALL, *often]
    assert training.main(arguments(good_folder, tmp_path / "run", settings=settings)) == 0
    assert next(criteria, None) is None
    rows = [row for row in read_log(tmp_path / "run/log.jsonl") if "criterion" in row]
    assert published_step([row["step"] for row in rows], [row["criterion"] for row in rows]) == 6

    published = DiffusionADPipeline.from_pretrained(tmp_path / "run/pipeline").segmenter.state_dict()

    def averages(step: int) -> dict[str, torch.Tensor]:
        state = torch.load(tmp_path / f"run/checkpoint-{step}/state.pt", weights_only=True)
        return {name: state["ema_segmenter"][f"module.{name}"] for name in published}

    assert equal(averages(6), published)
    assert not equal(averages(4), published) and not equal(averages(8), published)


def test_networks_learn_in_bf16(good_folder: Path, tmp_path: Path) -> None:
    # A process of its own: accelerate knows one precision in each.
    done = run(command(good_folder, tmp_path / "run", settings=[*SMALL, "optim.precision=bf16"]))
    assert done.returncode == 0, done.stderr
    rows = read_log(tmp_path / "run/log.jsonl")
    assert rows and all(
        math.isfinite(row[name]) for row in rows for name in ("noise", "segmentation", "gradient_norm")
    )
    weights = DiffusionADPipeline.from_pretrained(tmp_path / "run/pipeline").unet.parameters()
    assert {weight.dtype for weight in weights} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: root.mkdir(), "holds no good picture"),
        (lambda root: (root / "train").mkdir(parents=True), "train/good`"),
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
    assert "2 faults" in error and "003.png" in error and "005.png" in error
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


def test_a_diverging_run_stops_and_keeps_its_last_good_state(
    good_folder: Path, tmp_path: Path, capsys
) -> None:
    settings = [*SMALL, "optim.unet_lr=1e30", "optim.gradient_norm_max=0", "optim.warmup_steps=0"]
    words = arguments(good_folder, tmp_path / "run", settings=[*settings, "log.checkpoint_steps=1"])
    assert training.main(words) == 1
    error = capsys.readouterr().err
    assert "the loss became" in error and "checkpoint-0" in error and "unet_lr" in error
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-0"]


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
    losses = [training_step(batch, unet, segmenter, scheduler, c) for c in (config, detached)]
    for name in losses[0]:
        assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-4)
    gradients = []
    for loss in losses:
        unet.zero_grad()
        loss["segmentation"].backward()
        gradients.append(sum(p.grad.abs().sum().item() for p in unet.parameters() if p.grad is not None))
    assert gradients[0] > 0 and gradients[1] == 0


def test_repair_asks_for_the_picture_before_its_defect_and_counts_every_sample(good_folder: Path) -> None:
    config = load_config("tiny", [*SMALL, "optim.repair=true", "synthesis.probability=1.0"])
    _, scheduler, _ = build_networks(config)
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    batch = default_collate([samples[0, i] for i in range(4)])
    assert (batch["x_0"] - batch["clean"]).abs().amax((1, 2, 3)).min() > 0
    assert has_noise_loss(batch, config).all()
    for noise, scale in zip(noise_target(batch, scheduler).chunk(2), ("fine", "coarse"), strict=True):
        alpha_bar = alpha_bar_at(scheduler.alphas_cumprod, batch[f"t_{scale}"], noise)
        x_t = add_noise(batch["x_0"], batch[f"noise_{scale}"], alpha_bar)
        assert torch.allclose(predict_x_0(x_t, noise, alpha_bar), batch["clean"], atol=1e-5)


def test_without_repair_the_target_is_the_noise_of_normal_samples(good_folder: Path) -> None:
    config = load_config("tiny", SMALL)
    _, scheduler, _ = build_networks(config)
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    batch = default_collate([samples[0, i] for i in range(8)])
    assert torch.equal(has_noise_loss(batch, config), batch["label"] == 0)
    noise = torch.cat([batch["noise_fine"], batch["noise_coarse"]])
    assert torch.equal(noise_target(batch, scheduler), noise)


def test_precision_auto_is_what_the_machine_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("tiny", ["optim.precision=auto"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for capabilities, expected in (({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "no")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert with_native_precision(config).optim.precision == expected
    chosen = load_config("tiny", ["optim.precision=fp16"])
    assert with_native_precision(chosen) is chosen


def test_compiled_networks_with_other_gradients_are_refused() -> None:
    plain, compiled = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    for network in (plain, compiled):
        network.weight.grad = torch.ones(3, 3)
    check_compiled([plain], [compiled])
    compiled.weight.grad[0] = 0.0  # as of a layer that got no gradient
    with pytest.raises(ValueError, match=r"differ by 58%.*`optim.compile` false"):
        check_compiled([plain], [compiled])


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


def test_minutes_become_steps(good_folder: Path, tmp_path: Path, capsys) -> None:
    settings = [s for s in SMALL if not s.startswith("log.checkpoint")]
    words = arguments(good_folder, tmp_path / "run", "--max-minutes", "0.05", settings=settings)
    assert training.main(words) == 0
    stored = load_config(str(tmp_path / "run/config.toml"))
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert stored.optim.max_steps == metrics["steps"] > 25
    assert f"s a step: {stored.optim.max_steps} steps" in capsys.readouterr().out


def test_epochs_become_steps_before_the_first(good_folder: Path, tmp_path: Path) -> None:
    assert training.main(arguments(good_folder, tmp_path / "run", "--max-epochs", "3")) == 0
    sets = json.loads((tmp_path / "run/splits.json").read_text())
    stored = load_config(str(tmp_path / "run/config.toml"))
    assert stored.optim.max_steps == math.ceil(3 * len(sets["train"]) / 4)
    assert (tmp_path / f"run/checkpoint-{stored.optim.max_steps}").is_dir()


def test_a_run_of_given_length_says_when_it_ends(good_folder: Path, tmp_path: Path, capsys) -> None:
    settings = [*SMALL, "optim.max_steps=30", "log.validations=1"]
    assert training.main(arguments(good_folder, tmp_path / "run", settings=settings)) == 0
    assert "s a step: 30 steps" in capsys.readouterr().out


def test_tensorboard_shows_losses_and_pictures(good_folder: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "log.tensorboard=true", "log.loss_steps=2"]
    assert training.main(arguments(good_folder, tmp_path / "run", settings=settings)) == 0
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("noise")] == [2, 4, 6, 8]
    assert {"criterion", "gradient_norm", "unet_lr"} <= set(events.Tags()["scalars"])
    picture = events.Images("picture, reconstruction, map")[0]
    assert (picture.width, picture.height) == (3 * 32, 4 * 32)


def test_checkpointed_gradients_are_the_same_gradients(good_folder: Path) -> None:
    config = load_config("tiny", [*SMALL, "optim.detach_reconstruction=false"])
    unet, scheduler, segmenter = build_networks(config)
    samples = SyntheticAnomalies(sorted((good_folder / "train/good").iterdir()), config, seed=0)
    batch = default_collate([samples[0, i] for i in range(4)])
    gradients = []
    for _ in range(2):
        unet.zero_grad()
        sum(training_step(batch, unet, segmenter.eval(), scheduler, config).values()).backward()
        gradients.append([p.grad.clone() for p in unet.parameters()])
        unet.enable_gradient_checkpointing()
    assert equal(*gradients)


@pytest.mark.slow
def test_compiled_networks_take_the_same_steps_and_save_plain_weights(
    good_folder: Path, tmp_path: Path
) -> None:
    smallest = ["model.unet_channels=[16]", "model.unet_layers=1", "optim.detach_reconstruction=false"]
    settings = [*SMALL, *smallest, "optim.max_steps=3", "log.loss_steps=1", "log.validations=1"]
    for name in ("plain", "compiled"):
        compiles = f"optim.compile={str(name == 'compiled').lower()}"
        done = run(command(good_folder, tmp_path / name, settings=[*settings, compiles]), timeout=1800)
        assert done.returncode == 0, done.stderr
    rows, compiled_rows = (read_log(tmp_path / name / "log.jsonl") for name in ("plain", "compiled"))
    for row, other in zip(rows, compiled_rows, strict=True):
        for name in ("noise", "segmentation", "gradient_norm"):
            assert row[name] == pytest.approx(other[name], rel=1e-4)
    states = [
        torch.load(tmp_path / name / "checkpoint-3/state.pt", weights_only=True)
        for name in ("plain", "compiled")
    ]
    for network in ("unet", "segmenter", "ema_unet", "ema_segmenter"):
        assert states[0][network].keys() == states[1][network].keys()
    saved = tmp_path / "compiled/pipeline"
    names = {
        name
        for path in saved.rglob("*.safetensors")
        for name in safe_open(path, "pt").keys()  # noqa: SIM118
    }
    fresh = build_networks(load_config("tiny", settings))
    assert names == {*fresh[0].state_dict(), *fresh[2].state_dict()}
    DiffusionADPipeline.from_pretrained(saved)(good_folder / "test/corner/000.png")
