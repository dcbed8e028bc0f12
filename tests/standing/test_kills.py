"""However a training is killed, going on ends in the weights of a run that nobody disturbed."""

import hashlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import warm_start
from small_runs import SMALL, command, write_squares
from standing.soak import report, times

KILLS = times(short=2, long=20)
# Files that are there for some milliseconds: every other kill waits for one of them.
HALF_WRITTEN = (".checkpoint-*.partial", ".pipeline.*")
SETTINGS = [*SMALL, "log.checkpoint_steps=2", "optim.micro_batch_size=2"]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


def weights(run: Path) -> dict[str, str]:
    """The hash of each file of weights that the run publishes."""
    files = sorted((run / "pipeline").rglob("*.safetensors"))
    assert len(files) == 2
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """The weights of such a run, and its seconds."""
    output, started = tmp_path_factory.mktemp("runs") / "run", time.monotonic()
    done = warm_start.run(command(squares, output, settings=SETTINGS))
    assert done.returncode == 0, done.stderr
    return weights(output), time.monotonic() - started


def kill(
    process: warm_start.WarmProcess | subprocess.Popen, output: Path, seconds: float, waits: bool
) -> bool:
    """Kill a training after so many seconds, or while something is half-written; say whether it still ran."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if waits and any(next(output.glob(name), None) for name in HALF_WRITTEN):
            break
        time.sleep(0.0005)
    ran = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return ran


def test_a_training_killed_at_any_moment_goes_on_to_the_same_weights(squares, undisturbed, tmp_path):
    expected, seconds = undisturbed
    rng = random.Random(0)
    killed = half_written = 0
    for number in range(KILLS):
        output = tmp_path / str(number)
        words = command(squares, output, settings=SETTINGS)
        for again in range(3):  # twice killed, then left alone
            process = warm_start.start(
                [*words, "--resume"] if again else words,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if again == 2:
                assert process.wait(timeout=600) == 0
            else:
                killed += kill(process, output, rng.uniform(0, seconds), waits=number % 2 == 0)
                half_written += any(next(output.glob(name), None) for name in HALF_WRITTEN)
        assert weights(output) == expected, f"kill {number}"
    report("killed trainings", runs=KILLS, kills=killed, half_written=half_written, other_weights=0)
