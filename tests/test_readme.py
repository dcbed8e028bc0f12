"""The README's commands work in their order, after the installs that it names before them."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from PIL import Image
from places import ROOT
from small_runs import SMALL, write_squares

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = re.compile(r"^pip install 'diffusionad\[([\w,]+)\] @ git\+", re.MULTILINE)
# A line of a code block, or a code span that names what the command works on.
COMMAND = re.compile(r"^(diffusionad [^#\n]+)|`(diffusionad [a-z-]+ [^`\n]+)`", re.MULTILINE)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
PORT = "7977"
# What makes a command short, or keeps it on this machine; the README's own words stay.
SHORTER = {
    "train": [part for setting in SMALL for part in ("--set", setting)] + ["--max-steps", "3"],
    "distill": ["--set", "optim.precision=no", "--max-steps", "3"],  # a process has one precision
    "push": ["--dry-run", "--output", "card"],
    "push-space": ["--dry-run", "--output", "space"],
}
# One process, since an import of torch takes longer than most commands.
DRIVER = """
import json, sys
from diffusionad.cli.main import main
for step in json.load(open("steps.json")):
    print(step, flush=True)
    if isinstance(step, str):
        exec(step, {})
    elif status := main(step):
        sys.exit(f"{step[0]}: exit status {status}")
"""


def borrow(packages: Path, extras: list[str]) -> None:
    """Link into a fresh environment what pip would install with these extras, and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
    queue, seen = [Requirement(text) for text in wanted], set()
    home = Path(sysconfig.get_path("purelib"))
    while queue:
        requirement = queue.pop()
        key = requirement.name.lower(), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # an optional part of torch's CUDA build, say
        for part in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            target = packages / part
            if part != "__pycache__" and not target.exists() and (home / part).exists():
                target.symlink_to(home / part)
        for text in found.requires or []:
            needed = Requirement(text)
            extras_of = [{"extra": extra} for extra in ("", *requirement.extras)]
            if needed.marker is None or any(needed.marker.evaluate(extra) for extra in extras_of):
                queue.append(needed)


@pytest.fixture
def environment(tmp_path: Path):
    """Function (extras) -> `bin` of a fresh environment with the packages of these extras."""

    def make(extras: list[str]) -> Path:
        folder = tmp_path / "environment"
        venv.create(folder, symlinks=True)
        [packages] = folder.glob("lib/python*/site-packages")
        borrow(packages, extras)
        return folder / "bin"

    return make


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of this clone: what `git+https://...` builds."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path / "wheel"), str(ROOT)], check=True)
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    return wheel


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The folder in which the newcomer works: what the README's commands name is there."""
    folder = tmp_path / "work"
    squares = write_squares(tmp_path / "squares")
    for green, (name, source, count) in enumerate(
        (
            ("photos/good", "train/good", 16),
            ("photos/more_good", "train/good", 99),
            ("photos/new", "test/corner", 4),
        )
    ):
        pictures = sorted((squares / source).glob("*.png"))
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture = Image.open(pictures[i % len(pictures)])
            picture.putpixel((47, 39), (i, green, 0))  # no two files alike: copies promise nothing
            picture.save(folder / name / f"{i:03d}.png")
    (folder / "part.png").write_bytes((squares / "test/corner/000.png").read_bytes())
    return folder


def answers(command: list[str], folder: Path) -> None:
    """Start what serves a page, see the page, and end it."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own |= {"GRADIO_SERVER_PORT": PORT, "PYTHONUNBUFFERED": "1"}
    served = subprocess.Popen(command, cwd=folder, env=own, stdout=subprocess.PIPE, text=True)
    assert served.stdout is not None
    try:
        assert any(PORT in line for line in served.stdout), "it ended before it served the page"
        assert "DiffusionAD" in httpx.get(f"http://127.0.0.1:{PORT}", timeout=60).text
    finally:
        served.terminate()
        served.wait(120)  # a busy machine takes its time


def steps() -> list[list[str] | str]:
    """Return the README's commands, shortened, and its Python, in their order."""
    found: list[tuple[int, list[str] | str]] = [(m.start(), m[1]) for m in PYTHON.finditer(README)]
    for match in COMMAND.finditer(README):
        words = shlex.split(match[1] or match[2])[1:]
        found.append((match.start(), [*words, *SHORTER.get(words[0], [])]))
    return [step for _, step in sorted(found, key=lambda pair: pair[0])]


def test_every_command_of_the_readme_works_after_the_install_that_it_names(environment, wheel, parts):
    [install] = INSTALL.finditer(README)
    assert install.start() < COMMAND.search(README).start()
    programs = environment(install[1].split(","))
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)

    named = [step for step in steps() if step[0] != "serve"]
    assert {step[0] for step in named if isinstance(step, list)} >= {"train", "inspect", "push-space"}
    (parts / "steps.json").write_text(json.dumps(named), encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [str(programs / "python"), "-c", DRIVER], cwd=parts, env=own, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]
    for made in (
        "runs/bolt/pipeline",
        "runs/bolt-fast/pipeline",
        "report/results.csv",
        "inspected.png",
        "card/README.md",
        "space/app.py",
    ):
        assert (parts / made).exists(), made
    [serve] = [step for step in steps() if step[0] == "serve"]
    answers([str(programs / "diffusionad"), *serve], parts)


def test_make_demo_needs_no_more_than_it_installs(environment):
    programs = environment(["app"])
    for stamp in ("installed-torch", "installed-app"):
        (programs.parent / stamp).touch()  # in place of pip's downloads
    answers(["make", "demo", f"VENV={programs.parent}"], ROOT)
