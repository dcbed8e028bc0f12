"""The commands train, evaluate, catalog and preview: their arguments, and errors as sentences."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import SMALL, write_squares

from diffusionad.cli.main import main as diffusionad
from diffusionad.cli.options import run
from training import train as training
from training.cli import catalog_command, evaluate_command, preview_command, train_command
from training.config.options import LENGTHS
from training.config.schema import TrainConfig

COMMANDS = {
    "training.train": train_command,
    "training.evaluation": evaluate_command,
    "training.data": catalog_command,
    "training.synthesis": preview_command,
}
SETS = [part for setting in SMALL for part in ("--set", setting)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainConfig, Path, bool]]:
    """Trainings that the command asks for; they end at once."""
    trainings = []

    def train(config: TrainConfig, output: Path, resume: bool = False) -> Path:
        trainings.append((config, output, resume))
        return output

    monkeypatch.setattr("training.trainer.training.train", train)
    return trainings


@pytest.mark.parametrize("module", COMMANDS)
def test_help_answers_without_torch(module: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = [{module!r}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: print('status', end.code)\n"
        "print('loaded', *({'torch', 'numpy', 'PIL', 'accelerate', 'skimage'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"Usage: python -m {module}" in ran.stdout and "status 0" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "loaded"


def test_help_takes_less_than_a_second() -> None:
    seconds = []
    for _ in range(3):  # the best of three: other programs can only slow it down
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "training.train", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1


def test_the_commands_are_also_those_of_diffusionad(tmp_path: Path, capsys) -> None:
    for name in ("train", "evaluate", "catalog", "preview"):
        assert diffusionad([name, "--help"]) == 0
        assert f"Usage: diffusionad {name}" in capsys.readouterr().out
    assert diffusionad(["train", str(tmp_path / "nowhere"), "--output", str(tmp_path / "run")]) == 2
    assert "diffusionad train: error: `" in (error := capsys.readouterr().err) and "is not a folder" in error


def test_the_data_is_an_argument_or_an_option(tmp_path: Path, asked, capsys) -> None:
    data, output = str(tmp_path / "pictures"), ["--output", str(tmp_path / "run")]
    for words in ([data, *output], ["--data", data, *output], [*output, data]):
        assert training.main(words) == 0
    assert [(config.data.path, run) for config, run, _ in asked] == [(data, tmp_path / "run")] * 3
    assert training.main(output) == 2
    assert "DATA is missing" in capsys.readouterr().err
    assert training.main([data, "--data", data]) == 2
    assert "Give DATA once" in capsys.readouterr().err
    assert len(asked) == 3


def test_the_default_run_folder_carries_the_name_of_the_category_or_the_folder(
    asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIFFUSIONAD_RUNS", raising=False)
    assert training.main(["data/bolts"]) == 0
    monkeypatch.setenv("DIFFUSIONAD_RUNS", "/elsewhere")
    assert training.main(["mvtec", "--category", "bottle,cable"]) == 0
    assert [output for _, output, _ in asked] == [Path("runs/bolts"), Path("/elsewhere/bottle+cable")]


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_replaces_the_presets(name: str, asked) -> None:
    assert training.main(["pictures", f"--{name.replace('_', '-')}", "7", "--output", "/nowhere/run"]) == 0
    optim = asked[0][0].optim
    assert {length: getattr(optim, length) for length in LENGTHS} == {**dict.fromkeys(LENGTHS, 0), name: 7}


def test_settings_that_cannot_be_are_refused_in_one_sentence(asked, capsys) -> None:
    for words, sentence in (
        (["--max-steps", "3", "--max-epochs", "2"], "--max-epochs and --max-steps exclude each other"),
        (["--max-steps", "-3"], "`optim.max_steps` is -3; give a number above 0"),
        (["--max-minutes", "0"], "set one of them"),
        (["--set", "optim.speed=3"], "`optim.speed` is unknown"),
        (["--preset", "huge"], "'huge'; use fast, paper"),
        (["--speed", "3"], "No such option"),
    ):
        assert training.main(["pictures", *words]) == 2, words
        error = capsys.readouterr().err
        assert sentence in error and len(error.splitlines()) == 1, error
    assert asked == []


def test_an_interrupted_run_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupted(config: TrainConfig, output: Path, resume: bool = False) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.trainer.training.train", interrupted)
    assert training.main(["my pictures", "--output", "/nowhere/run"]) == 130
    again = "python -m training.train 'my pictures' --output /nowhere/run --resume"
    assert capsys.readouterr().err.strip().endswith(f"Stopped. Go on with: {again}")
    assert diffusionad(["train", "my pictures", "--output", "/nowhere/run"]) == 130
    assert "Go on with: diffusionad train 'my pictures' --output" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["accelerate", "skimage"])
def test_a_missing_extra_names_the_install_command(package: str, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "squares")
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from training.train import main\n"
        f"sys.exit(main(['--data', {str(data)!r}, '--output', {str(tmp_path / 'run')!r}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "pip install 'diffusionad[train]'" in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr


def test_a_preview_needs_something_to_do(tmp_path: Path, capsys) -> None:
    assert run(preview_command, ["--data", str(tmp_path)], "diffusionad preview") == 2
    assert "give --output SHEET.png, --benchmark, or both" in capsys.readouterr().err


def test_every_process_says_its_own_error_and_one_process_the_rest(tmp_path: Path) -> None:
    code = "from training.console import say, complain; say('hello'); complain('broken')"
    said = {}
    for rank in "01":
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"RANK": rank}
        )
        said[rank] = ran.stdout, ran.stderr
    assert said == {"0": ("hello\n", "broken\n"), "1": ("", "[process 1] broken\n")}
