"""Training in two phases: the UNet alone, then the segmenter on a replay buffer of its reconstructions."""

import json
import shutil
import sys
from itertools import count, repeat
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, arguments, write_squares
from warm_start import run

from training import train as training
from training.config.loader import load_config
from training.run_folder import checkpoints, read_log
from training.trainer.reconstruction_buffer import ReconstructionBuffer

TWO_PHASES = [
    *SMALL,
    "optim.unet_share=0.5",
    "optim.buffer_size=6",
    "optim.buffer_steps=2",
    "optim.segmenter_crop=16",
    "log.checkpoint_steps=2",
    "log.keep_checkpoints=9",
]
NETWORKS = ("unet", "segmenter", "ema_unet", "ema_segmenter")


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def straight(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "straight"
    assert training.main(arguments(good_folder, output, settings=TWO_PHASES)) == 0
    return output


def weights(run: Path, step: int | str) -> dict[str, torch.Tensor]:
    state = torch.load(run / f"checkpoint-{step}/state.pt", weights_only=True)
    return {f"{name}.{key}": value for name in NETWORKS for key, value in state[name].items()}


def test_each_phase_moves_its_own_network(straight: Path) -> None:
    start, middle, end = (weights(straight, step) for step in (0, 4, 8))
    for before, after, moving in ((start, middle, "unet"), (middle, end, "segmenter")):
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {moving, f"ema_{moving}"}


def test_each_phase_logs_its_own_loss(straight: Path) -> None:
    rows = read_log(straight / "log.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    for row in rows:
        assert ("noise" in row) == (row["step"] <= 4)
        assert ("segmentation" in row) == ("criterion" in row) == (row["step"] > 4)


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_run_resumes_bit_for_bit_in_either_phase(
    straight: Path, good_folder: Path, tmp_path: Path, step: int
) -> None:
    output = shutil.copytree(straight, tmp_path / "again")
    for later in checkpoints(output):
        if int(later.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(later)
    assert training.main(arguments(good_folder, output, "--resume", settings=TWO_PHASES)) == 0
    expected, found = weights(straight, 8), weights(output, 8)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_finished_run_goes_on_for_further_minutes(
    straight: Path, good_folder: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(straight, tmp_path / "again")
    words = arguments(good_folder, output, "--more-minutes", "0.05", settings=TWO_PHASES)
    for _ in range(2):
        before = json.loads((output / "metrics.json").read_text())
        assert training.main(words) == 0
        after = json.loads((output / "metrics.json").read_text())
        assert after["steps"] > before["steps"] and after["train_minutes"] > before["train_minutes"]
        assert load_config(str(output / "config.toml")).optim.max_steps == after["steps"]
    first, last = (
        weights(output, checkpoints(output)[-1].name.removeprefix("checkpoint-")),
        weights(straight, 8),
    )
    assert not same(first, last)
    assert all(
        torch.equal(first[name], last[name]) for name in first if name.startswith("unet.")
    )  # it is frozen
    rows = read_log(output / "log.jsonl")
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


def test_going_on_needs_a_run_and_its_settings(
    straight: Path, good_folder: Path, tmp_path: Path, capsys
) -> None:
    words = arguments(good_folder, tmp_path / "none", "--more-minutes", "1", settings=TWO_PHASES)
    assert training.main(words) == 2
    assert "has no checkpoint to go on from" in capsys.readouterr().err
    assert training.main([*words, "--category", "all"]) == 2
    assert "--more-minutes trains one run on" in capsys.readouterr().err
    words = arguments(good_folder, straight, "--more-minutes", "1", "--seed", "5", settings=TWO_PHASES)
    assert training.main(words) == 2
    assert "optim.seed was 0, now 5" in capsys.readouterr().err


TWO_PROCESSES = [*TWO_PHASES, "model.segmenter_norm=group"]
# The training command in each process, which also keeps the averages that this process holds in the end.
KEEPING_AVERAGES = """
import os, sys
sys.path.insert(0, os.getcwd())  # a script's own folder is searched, not the clone
import torch
from training import train
from training.trainer import state
kept, make = [], state.moving_average
state.moving_average = lambda *given: kept.append(make(*given)) or kept[-1]
status = train.main(sys.argv[2:])
torch.save([average.state_dict() for average in kept], f"{sys.argv[1]}/rank{os.environ['RANK']}.pt")
sys.exit(status)
"""


def train_by_two(good_folder: Path, output: Path, *more: str) -> list[list[dict[str, torch.Tensor]]]:
    """Run the command in two processes; the averages of UNet and segmenter in each of them."""
    script = output.parent / "keeping_averages.py"
    script.write_text(KEEPING_AVERAGES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = arguments(good_folder, output, *more, settings=TWO_PROCESSES)
    done = run([*launch, str(script), str(output.parent), *words])
    assert done.returncode == 0, done.stderr
    return [torch.load(output.parent / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_two_processes_agree_in_both_phases_and_resume_bit_for_bit(
    straight: Path, good_folder: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    of_each = train_by_two(good_folder, two)
    assert all(map(same, *of_each))
    by_one, by_two = (read_log(folder / "log.jsonl") for folder in (straight, two))
    assert [row["step"] for row in by_two] == [2, 4, 6, 8]
    for row, other in zip(by_one[:2], by_two[:2], strict=True):  # the first phase is that of one process
        for name in ("noise", "gradient_norm", "psnr_normal_db"):
            assert row[name] == pytest.approx(other[name], rel=1e-5)

    before = weights(two, 8)
    shutil.rmtree(two / "checkpoint-8")
    again = train_by_two(good_folder, two, "--resume")
    assert same(before, weights(two, 8)) and not same(before, weights(two, 6))
    assert all(map(same, of_each[0] + of_each[1], again[0] + again[1]))


def numbered(start: int):
    """Samples whose pixels and reconstruction are their own number, the first corner damaged in odd ones."""
    for number in count(start):
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., :4, :4] = number % 2
        yield {"x_0": torch.full((1, 3, 32, 32), number / 127.5 - 1), "mask": mask, "number": number}


def as_it_is(batch: dict) -> dict:
    return {"x_0_hat": batch["x_0"]}


def buffer_at(step: int) -> ReconstructionBuffer:
    config = load_config("tiny", TWO_PHASES)
    start = step // config.optim.buffer_steps
    return ReconstructionBuffer(numbered(start), as_it_is, config, step, rank=0)


@pytest.mark.parametrize("step", [1, 2, 7, 20])
def test_a_buffer_filled_anew_draws_what_the_old_one_would_have_drawn(step: int) -> None:
    old = buffer_at(0)
    for _ in range(step):
        old.draw()
    for _ in range(3):
        expected, found = old.draw(), (new := buffer_at(step)).draw()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        step += 1
    assert new.count == old.count


def test_a_buffer_slides_over_the_samples() -> None:
    sliding = buffer_at(0)
    for _ in range(11):
        sliding.draw()
    assert sorted(sliding.x_0[:, 0, 0, 0].tolist()) == [5, 6, 7, 8, 9, 10]


def test_most_crops_of_damaged_samples_show_the_damage() -> None:
    crops = [buffer_at(step).draw() for step in range(0, 40, 2)]
    x_0, label = (torch.cat([crop[name] for crop in crops]) for name in ("x_0", "label"))
    damaged = ((x_0[:, 0, 0, 0] + 1) * 127.5).round().long() % 2 == 1
    assert label[damaged].float().mean() > 0.85
    assert not label[~damaged].any()
    assert crops[0]["x_0"].shape == (8, 3, 16, 16)
    assert crops[0]["mask"].shape == (8, 1, 16, 16)


def test_a_buffer_does_not_turn_what_lies_in_one_position() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)  # grows from left to right
    config = load_config("tiny", TWO_PHASES)
    sample = {"x_0": ramp, "mask": torch.zeros(1, 1, 32, 32)}
    drawn = ReconstructionBuffer(repeat(sample), as_it_is, config, 0, rank=0).draw()
    assert (drawn["x_0"].diff(dim=3) > 0).all() and (drawn["x_0_hat"].diff(dim=3) > 0).all()


def test_minutes_become_steps_of_both_phases_also_of_a_resumed_run(
    good_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = [s for s in TWO_PHASES if not s.startswith(("log.checkpoint", "optim.max_"))]
    words = arguments(good_folder, tmp_path / "run", "--max-minutes", "0.1", settings=settings)
    assert training.main(words) == 0
    said = capsys.readouterr().out
    path = tmp_path / "run/config.toml"
    optim = load_config(str(path)).optim
    assert 0 < optim.unet_steps < optim.max_steps
    assert f"{optim.unet_steps} steps" in said and "of the segmenter" in said
    assert f"{optim.max_steps} steps" in said
    (tmp_path / "run/metrics.json").unlink()
    shutil.rmtree(tmp_path / f"run/checkpoint-{optim.max_steps}")
    assert training.main([*words, "--resume"]) == 0
    resumed = load_config(str(path)).optim
    assert resumed.unet_steps == optim.unet_steps
    assert (tmp_path / f"run/checkpoint-{resumed.max_steps}").is_dir()
