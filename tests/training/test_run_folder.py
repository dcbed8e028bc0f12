"""A run folder under kills, moves, second processes and full disks: it goes on, or says why it cannot."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm_start
from small_runs import SMALL, arguments, write_squares

from diffusionad import DiffusionADPipeline
from training import train as training
from training.run_folder import check_unused, checkpoints, clear_leftovers, save_pipeline, sets_of_run
from training.run_guard import LOCK, RunLock, adopt, disk_errors, swapping

QUICK = [*SMALL, "optim.max_steps=2", "log.validations=1", "log.samples=0", "log.checkpoint_steps=1"]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def undisturbed(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert training.main(arguments(squares, output, settings=QUICK)) == 0
    return output


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(checkpoints(run)[-1] / "state.pt", weights_only=True)
    return {f"{part}.{name}": value for part in ("unet", "segmenter") for name, value in state[part].items()}


def assert_same_weights(one: Path, two: Path) -> None:
    a, b = weights_of(one), weights_of(two)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    more: tuple[str, ...], squares: Path, undisturbed: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "config.toml").write_text("[optim]\nseed =")  # cut short
    (tmp_path / ".checkpoint-0.partial").mkdir()
    (tmp_path / ".checkpoint-0.partial/state.pt").write_bytes(b"half")
    assert training.main(arguments(squares, tmp_path, *more, settings=QUICK)) == 0
    assert ("begins anew" in capsys.readouterr().out) == bool(more)
    assert_same_weights(tmp_path, undisturbed)
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("kept", ["checkpoint-0", "pipeline", "metrics.json"])
def test_nothing_that_a_run_has_earned_is_written_over(kept: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    check_unused(tmp_path)
    (tmp_path / kept).mkdir() if "." not in kept else (tmp_path / kept).touch()
    with pytest.raises(ValueError, match="holds a run already"):
        check_unused(tmp_path)


def test_moved_pictures_and_a_relative_path_resume_to_the_same_weights(
    squares: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    shutil.rmtree(run / "checkpoint-2")
    (run / "metrics.json").unlink()
    shutil.copytree(squares, tmp_path / "elsewhere/parts")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert training.main(arguments(Path("parts"), run, "--resume", settings=QUICK)) == 0
    assert_same_weights(run, undisturbed)


def test_renamed_pictures_keep_their_set_and_their_order(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]))
    listed = {"train": files[:4], "validation": files[4:5], "calibration": files[5:]}
    hashes = sets_written(tmp_path, listed)
    renamed = [file.rename(tmp_path / f"part {9 - i}.png") for i, file in enumerate(files)]
    found = sorted(renamed)  # in the other order, and so divided otherwise
    now = {"train": found[:4], "validation": found[4:5], "calibration": found[5:]}
    sets = sets_of_run(tmp_path, now)
    assert sets == {"train": renamed[:4], "validation": renamed[4:5], "calibration": renamed[5:]}
    assert hashes == sets_written(tmp_path, sets)
    renamed[2].write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"\n  part 7\.png has changed$"):
        sets_of_run(tmp_path, now)


def sets_written(output: Path, sets: dict[str, list[Path]]) -> dict[str, list[str]]:
    """Write splits.json; return its hashes."""
    from training.run_folder import _listed

    listed = _listed(sets)
    (output / "splits.json").write_text(json.dumps(listed))
    return {name: [entry["sha256"] for entry in entries] for name, entries in listed.items()}


def write(folder: Path, text: str, whole: bool = True) -> None:
    folder.mkdir()
    (folder / "weights").write_text(text)
    if whole:
        (folder / "model_index.json").write_text("{}")


@pytest.mark.parametrize(
    ("names", "adopted"),
    [
        (("pipeline", ".pipeline.partial"), "pipeline"),  # killed before the first rename
        ((".pipeline.previous", ".pipeline.partial"), ".pipeline.partial"),  # between the two
        (("pipeline", ".pipeline.previous"), "pipeline"),  # before the old one was removed
        ((".pipeline.partial",), ".pipeline.partial"),  # where the old one was removed first, as it once was
    ],
)
def test_a_swap_that_a_kill_cut_short_is_finished(names, adopted: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, name)
    clear_leftovers(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    assert (tmp_path / "pipeline/weights").read_text() == adopted


def test_half_a_pipeline_is_never_adopted(tmp_path: Path) -> None:
    write(tmp_path / ".pipeline.partial", "half", whole=False)
    write(tmp_path / ".pipeline.previous", "old")
    adopt(tmp_path / "pipeline")
    assert (tmp_path / "pipeline/weights").read_text() == "old"
    write(tmp_path / ".run.partial", "half", whole=False)
    adopt(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


def test_a_write_that_fails_leaves_the_earlier_pipeline(tiny_pipeline, tmp_path: Path) -> None:
    save_pipeline(tiny_pipeline, tmp_path / "pipeline")
    with pytest.raises(KeyboardInterrupt), swapping(tmp_path / "pipeline") as partial:
        write(partial, "half", whole=False)
        raise KeyboardInterrupt
    save_pipeline(tiny_pipeline, tmp_path / "pipeline")  # over the earlier one
    assert DiffusionADPipeline.from_pretrained(tmp_path / "pipeline").config.image_size == 64
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


HOLD = """
import os, sys, time
from pathlib import Path
from training.run_guard import RunLock
RunLock(Path(sys.argv[1])).acquire()
if os.fork():
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_two_runs_into_one_folder_at_once_are_refused_until_the_first_has_died(
    squares: Path, tmp_path: Path, capsys
) -> None:
    holder = warm_start.start(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        pid = holder.stdout.readline().strip()
        assert training.main(arguments(squares, tmp_path, settings=QUICK)) == 2
        assert f"process {pid} on" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]  # nothing was touched
        holder.kill()  # its worker lives on, as a loader's does for some seconds
        holder.wait()
        with RunLock(tmp_path) as lock:
            lock.acquire()
            assert f"process {os.getpid()} on" in (tmp_path / LOCK).read_text()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_full_disk_is_one_sentence(squares: Path, tmp_path: Path) -> None:
    limit = 100_000  # bytes of a file: less than a checkpoint, more than settings and log
    words = arguments(squares, tmp_path / "run", settings=QUICK)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    code += "import sys; from training.train import main; sys.exit(main(sys.argv[1:]))"
    done = warm_start.run([sys.executable, "-c", code, *words])
    assert done.returncode == 2
    assert "cannot be written (File too large); put that right" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs Linux's full device")
def test_what_torch_raises_on_a_full_disk_is_understood_and_other_errors_pass(tmp_path: Path) -> None:
    refused = pytest.raises(OSError, match=r"cannot be written \(No space left on device\).*--resume")
    with refused, disk_errors(tmp_path), open("/dev/full", "wb") as full:
        torch.save({"weights": torch.zeros(1_000_000)}, full)
    with pytest.raises(RuntimeError, match="of a network"), disk_errors(tmp_path):
        raise RuntimeError("of a network")
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "absent").read_bytes()
