"""An installed wheel does what a clone does, from another folder."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from places import ROOT
from small_runs import SMALL, write_squares

from diffusionad import __version__
from hub.push_space import FILES

pytestmark = pytest.mark.slow

SHIPPED = {"diffusionad": "diffusionad", "training": "diffusionad/training", "hub": "diffusionad/hub"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment that holds the wheel and sees the packages of this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        + ["--no-deps", "--no-index", str(wheel)],
        check=True,
    )
    [packages] = environment.glob("lib/python*/site-packages")
    # A path in a .pth file comes last, and the .pth files there, such as that of a clone, are not read.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture
def diffusionad(programs: Path, tmp_path: Path):
    """Function (arguments) -> stdout of the installed command, run in an empty folder."""

    def call(*arguments: object) -> str:
        ran = subprocess.run(
            [str(programs / "diffusionad"), *map(str, arguments)],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return call


def test_a_wheel_carries_every_file_of_the_three_folders(wheel):
    files = {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in SHIPPED.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files |= {f"diffusionad/space/{name}" for name in (*FILES, "README.md")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == files
    for name in (
        "py.typed",
        "assets/fabric/unet/diffusion_pytorch_model.safetensors",
        "assets/washer/config.toml",
        "training/presets/tiny.toml",
        "training/evaluation/templates/report.html.jinja",
        "hub/templates/model_card.md.jinja",
        "ui/components/theme.css",
    ):
        assert f"diffusionad/{name}" in names
    assert any(name.endswith(".js") for name in names)


def test_a_wheel_is_described_by_the_version_and_the_addresses_of_the_project(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nProject-URL: Repository, https://" in metadata
    for extra in ("app", "mcp", "train", "hub", "datasets", "tensorboard", "bench", "dev"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


def test_an_installed_wheel_has_one_name_for_training_and_hub(programs, tmp_path):
    code = "import importlib.util as u, diffusionad.training, diffusionad.hub; "
    code += "print(u.find_spec('training'), u.find_spec('hub'), diffusionad.training.__file__)"
    ran = subprocess.run(
        [str(programs / "python"), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    training, hub, file = ran.stdout.split()
    assert training == hub == "None"
    assert Path(file).is_relative_to(programs.parent)


def test_an_installed_wheel_trains_inspects_previews_and_catalogs(diffusionad, tmp_path):
    assert diffusionad("--version") == f"diffusionad {__version__}\n"
    assert "--output" in diffusionad("train", "--help")
    data = write_squares(tmp_path / "squares")
    settings = [x for setting in SMALL for x in ("--set", setting)]
    diffusionad("train", data, "--output", tmp_path / "run", *settings, "--max-steps", 3)
    assert (tmp_path / "run" / "metrics.json").is_file()

    model = tmp_path / "run" / "pipeline"
    said = diffusionad("inspect", data / "test", "--model", model, "--output", tmp_path / "report")
    assert "8 pictures: " in said
    assert (tmp_path / "report" / "results.json").is_file()
    diffusionad(
        "preview", "--data", data, "--preset", "tiny", "--count", 2, "--output", tmp_path / "sheet.png"
    )
    assert (tmp_path / "sheet.png").is_file()
    assert "16" in diffusionad("catalog", data)
    assert "--repo-id" in diffusionad("push", "--help")


def test_an_installed_wheel_inspects_with_an_embedded_model(diffusionad, programs, tmp_path):
    [assets] = programs.parent.glob("lib/python*/site-packages/diffusionad/assets")
    picture = assets / "fabric" / "examples" / "hole.png"
    diffusionad("inspect", picture, "--model", "fabric", "--output", tmp_path / "report")
    assert os.listdir(tmp_path / "report" / "overlays")
