"""The table of commands: what `diffusionad` loads, when, and what it says where something is missing."""

import importlib
import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from places import APP, ROOT

from diffusionad import __version__
from diffusionad.cli.main import COMMANDS, diffusionad_command, importable, main
from diffusionad.cli.options import CannotRun, run

HEAVY = {"torch", "diffusers", "gradio", "numpy", "scipy", "accelerate", "training", "hub"}


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd=ROOT,
    )


def answers_within(limit: float, *arguments: object) -> bool:
    """Whether one of three tries takes fewer seconds: the machine may be busy with other tests."""
    for _ in range(3):
        started = time.perf_counter()
        assert python(*arguments).returncode == 0
        if time.perf_counter() - started < limit:
            return True
    return False


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option):
    report = f"print('loaded:', *sorted({HEAVY} & set(sys.modules)))"
    ran = python("-c", f"import sys; from diffusionad.cli.main import main; main(['{option}']); {report}")
    assert ran.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_and_version_answer_in_under_a_second(arguments):
    assert answers_within(1, "-m", "diffusionad", *arguments)


FIRST_WORD = """
import os, sys
from diffusionad.cli.main import main
class Terminal:
    def isatty(self): return True
    def write(self, text):
        print(text, *sorted({"torch", "numpy", "huggingface_hub"} & set(sys.modules)), flush=True)
        os._exit(0)
sys.stderr = Terminal()
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "photos"], "Reading photos ..."),
        (["push", "--run", "runs/bolt", "--repo-id", "org/bolt"], "Reading runs/bolt ..."),
        (["push-space", "--repo-id", "org/space"], "Collecting the files of org/space ..."),
    ],
)
def test_a_command_says_its_first_word_before_anything_heavy_is_imported(arguments, said):
    assert python("-c", FIRST_WORD, *arguments).stdout == f"{said}\n"


def test_app_py_answers_help_without_gradio():
    started = time.perf_counter()
    ran = python(APP, "--help")
    assert ran.returncode == 0 and "python app.py [MODEL ...]" in ran.stdout
    assert time.perf_counter() - started < 5


def test_help_lists_every_command_with_one_line(capsys):
    assert main(["--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name, (_, _, line) in COMMANDS.items():
        assert f"{name} {line}" in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_calls_the_same_things_the_same(name):
    context = click.Context(diffusionad_command, info_name="diffusionad")
    command = diffusionad_command.get_command(context, name)
    assert isinstance(command, click.Command) and command.name == name
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    options = {option for p in shown for option in p.opts if option.startswith("--")}
    assert options & {"--root", "--out", "--pipeline", "--repo", "--data-dir"} == set()
    help_text = CliRunner().invoke(command, ["--help"]).output
    assert all(f"{option}" in help_text for option in options)


def commands() -> list[click.Command]:
    """Every click command of the package, the trainings, the benchmarks and the publishing."""
    files = [path for top in ("diffusionad", "training", "hub") for path in (ROOT / top).rglob("*.py")]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in files
        if "@click.command(" in path.read_text(encoding="utf-8")
    ]
    values = [value for name in names for value in vars(importlib.import_module(name)).values()]
    return [value for value in values if isinstance(value, click.Command)]


def lost_layout(command: click.Command) -> list[str]:
    """Paragraphs of a command's help whose lines click joins, and marks of a layout that it prints."""
    texts = [inspect.cleandoc(command.help or ""), command.epilog or ""]
    paragraphs = [paragraph.strip("\n") for text in texts for paragraph in text.split("\n\n")]
    joined = [p for p in paragraphs if "\n " in p and not p.startswith("\b\n")]
    printed = command.get_help(click.Context(command, info_name=command.name))
    return joined + [line for line in printed.splitlines() if "\b" in line or "\\b" in line]


def test_the_help_of_every_command_keeps_its_layout():
    found = commands()
    assert {command.name for command in found} > {*COMMANDS, "reproduce", "latency"}
    assert {command.name: lost_layout(command) for command in found if lost_layout(command)} == {}


def test_a_lost_layout_would_be_found():
    examples = "diffusionad inspect a\n  diffusionad inspect b"
    assert lost_layout(click.Command("raw", help=f"Do it.\n\n\\b\n  {examples}"))
    assert lost_layout(click.Command("unmarked", epilog=f"Examples:\n  {examples}"))
    assert not lost_layout(click.Command("marked", epilog=f"\b\nExamples:\n  {examples}"))


def test_the_package_runs_as_a_module():
    ran = python("-m", "diffusionad", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"diffusionad {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "diffusionad: Missing command. See diffusionad --help."),
        (["nope"], "diffusionad: No such command 'nope'. See diffusionad --help."),
        (["--nope"], "diffusionad: No such option"),
        (["inspect", "--nope"], "diffusionad inspect: No such option"),
        (["calibrate"], "diffusionad calibrate: Missing option '--model'."),
        (["calibrate", "--model", "fabric"], "diffusionad calibrate: no pictures given;"),
    ],
)
def test_a_wrong_call_is_answered_with_one_line_and_exit_status_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(sentence)
    assert len(printed.err.splitlines()) == 1


def test_a_missing_extra_is_one_sentence_that_names_what_to_install():
    block = "import sys; sys.modules['accelerate'] = None; from diffusionad.cli.main import main; "
    call = "sys.exit(main(['train', 'pictures', '--output', 'run', '--max-steps', '1']))"
    ran = python("-c", block + call)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "diffusionad train: the package accelerate is not installed; run: pip install 'diffusionad[train]'\n"
    )


def test_a_missing_module_that_no_extra_brings_is_a_defect_and_not_hidden():
    @click.command()
    def broken() -> None:
        import no_such_module  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        run(broken, [], "broken")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, 130), (click.Abort, 130), (CannotRun("no."), 2)]
)
def test_each_end_has_its_exit_status(error, status, capsys):
    @click.command()
    def ends() -> None:
        raise error

    assert run(ends, [], "ends") == status
    assert capsys.readouterr().err == ("ends: no.\n" if status == 2 else "")


def test_a_closed_pipe_makes_the_exit_status_141():
    code = "from diffusionad.cli.options import run; import click, sys; "
    code += "command = click.Command('x', callback=lambda: [print('y' * 100) for _ in range(10000)]); "
    code += "status = run(command, [], 'x'); print(status, file=sys.stderr)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    process.stdout.close()
    assert process.stderr.read() == "141\n"
    process.stderr.close()
    process.wait()


def test_a_command_that_returns_nothing_succeeds():
    assert run(click.Command("x", callback=lambda: None), [], "x") == 0


def test_a_clone_names_training_and_hub_as_its_folders_are_named():
    assert importable("training.cli") == "training.cli"
    assert importable("hub.push_model") == "hub.push_model"
    assert importable("diffusionad.cli.serve") == "diffusionad.cli.serve"


def test_a_wheel_names_training_and_hub_inside_the_package(tmp_path: Path):
    (tmp_path / "diffusionad" / "training").mkdir(parents=True)
    assert importable("training.cli", tmp_path / "diffusionad") == "diffusionad.training.cli"
    assert str(tmp_path) not in sys.path


def test_an_installation_without_training_says_so(tmp_path: Path):
    (tmp_path / "diffusionad").mkdir()
    with pytest.raises(CannotRun, match="this installation has no `training`"):
        importable("training.cli", tmp_path / "diffusionad")


def test_a_clone_is_put_on_the_path_where_only_the_package_is(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    (tmp_path / "diffusionad").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "training/__init__.py").touch()
    assert importable("training.cli", tmp_path / "diffusionad") == "training.cli"
    assert sys.path == [str(tmp_path)]
