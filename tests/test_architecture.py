"""Imports point one way: the walls of the house, checked by walking them."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

import diffusionad

PACKAGE = ROOT / "diffusionad"

HEAVY = {"accelerate", "gradio", "matplotlib", "ray", "skimage", "sklearn", "torchvision"}
MAY_BE_HEAVY = ("ui",)
# They also serve the exported model, which runs without torch.
WITHOUT_TORCH = (
    "images.image_io",
    "images.tiling",
    "inspection.panel",
    "inspection.visualize",
    "postprocessing.calibration",
    "postprocessing.drift",
    "postprocessing.scoring",
)


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Return the top-level names of a file's absolute imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module.partition(".")[0]} if node.level == 0 else set()
    return found


def levels_of(path: Path) -> list[int]:
    """Return the number of leading dots of each `from ... import` of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.level for node in nodes if isinstance(node, ast.ImportFrom)]


def offenders(paths: list[Path], forbidden: set[str]) -> dict[str, set[str]]:
    return {str(p.relative_to(ROOT)): bad for p in paths if (bad := imports_of(p) & forbidden)}


def test_the_walk_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\ndef f():\n    from c.d import e\n")
    assert imports_of(path) == {"a", "c"}


def test_the_package_is_light():
    light = [p for p in python_files("diffusionad") if p.relative_to(PACKAGE).parts[0] not in MAY_BE_HEAVY]
    assert PACKAGE / "pipeline.py" in light
    assert offenders(light, HEAVY) == {}


def test_only_the_screens_import_gradio():
    others = [p for p in python_files("diffusionad") if p.relative_to(PACKAGE).parts[0] != "ui"]
    assert offenders(others, {"gradio"}) == {}


def test_the_package_needs_neither_training_nor_hub():
    assert offenders(python_files("diffusionad"), {"training", "hub"}) == {}


@pytest.mark.parametrize("folder", ["training", "hub"])
def test_training_and_hub_meet_on_disk_only_and_work_under_any_name(folder):
    """In a wheel they are `diffusionad.training` and `diffusionad.hub`: they import themselves relatively."""
    assert python_files(folder)
    assert offenders(python_files(folder), {"training", "hub"}) == {}


@pytest.mark.parametrize("folder", ["training", "hub"])
def test_relative_imports_stay_inside_their_folder(folder):
    for path in python_files(folder):
        depth = len(path.relative_to(ROOT).parent.parts)
        assert all(level <= depth for level in levels_of(path)), path


def test_the_package_imports_itself_absolutely():
    assert [p for p in python_files("diffusionad") if any(levels_of(p))] == []


def test_nothing_imports_torchvision():
    everything = [p for folder in ("diffusionad", "training", "hub", "tests") for p in python_files(folder)]
    assert offenders([*everything, *ROOT.glob("*.py")], {"torchvision"}) == {}


def test_what_serves_the_exported_model_needs_no_torch():
    paths = [PACKAGE / f"{module.replace('.', '/')}.py" for module in WITHOUT_TORCH]
    assert offenders(paths, {"torch", "diffusers"}) == {}
    loaded = modules_loaded_by(f"import {', '.join(f'diffusionad.{m}' for m in WITHOUT_TORCH)}")
    assert loaded & {"torch", "diffusers"} == set()


def test_importing_the_package_loads_neither_torch_nor_diffusers_nor_scipy():
    assert modules_loaded_by("import diffusionad; dir(diffusionad); diffusionad.__version__") == set()


def modules_loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh process has loaded after running `code`."""
    report = "import sys; print(*({'torch', 'diffusers', 'scipy'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; {report}"], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("name", diffusionad.__all__)
def test_every_public_name_resolves(name):
    assert getattr(diffusionad, name).__name__ == name
    assert name in dir(diffusionad)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'diffusionad' has no attribute 'nonsense'"):
        diffusionad.nonsense  # noqa: B018


def test_public_names_are_the_same_for_editors_as_at_run_time():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    [guard] = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name: node.module for node in guard.body for alias in node.names}
    assert sorted(names) == diffusionad.__all__
    for name, module in names.items():
        assert getattr(importlib.import_module(module), name) is getattr(diffusionad, name)


@pytest.mark.parametrize("folder", ["training", "hub"])
def test_no_module_hides_an_installed_or_standard_one(folder):
    stems = {p.stem for p in python_files(folder)} - {"__init__"}
    taken = sys.stdlib_module_names | {"accelerate", "datasets", "diffusers", "evaluate", "gradio", "spaces"}
    assert stems & taken == set()
