"""Imports inside the page point one way: tabs, components, serving, the rest of the package."""

import ast
from pathlib import Path

import pytest
from places import ROOT

from diffusionad import DiffusionADPipeline
from diffusionad.ui import LAUNCH_OPTIONS
from diffusionad.ui.components.static_files import read_static_file

UI = ROOT / "diffusionad" / "ui"

# Room -> rooms that it may import, besides the package outside `ui`.
MAY_IMPORT = {
    "serving": {"serving"},
    "components": {"components", "serving"},
    "tabs": {"tabs", "components", "serving"},
}


def rooms_imported_by(path: Path) -> set[str]:
    """Return the rooms of `diffusionad.ui` that a file imports, and modules beside them by their names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[2] for name in names if name.startswith("diffusionad.ui.")}


def test_the_walk_finds_every_kind_of_import(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import diffusionad.ui.app\n"
        "from diffusionad.ui import serving\n"
        "from diffusionad.images import image_io\n"
        "def f():\n    from diffusionad.ui.tabs.draw import DrawTab\n"
    )
    assert rooms_imported_by(path) == {"app", "serving", "tabs"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_of_the_page_imports_no_room_above_it(room):
    files = sorted((UI / room).glob("*.py"))
    assert len(files) > 1
    imported = {path.name: rooms_imported_by(path) - MAY_IMPORT[room] for path in files}
    assert {name: rooms for name, rooms in imported.items() if rooms} == {}


def test_the_page_uses_no_private_member_of_the_pipeline():
    private = {
        name for name in dir(DiffusionADPipeline) if name.startswith("_") and not name.startswith("__")
    }
    assert private
    used = {
        f"{path.relative_to(UI)}:{node.lineno} {node.attr}"
        for path in sorted(UI.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in private
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    assert used == set()


def test_styles_and_scripts_are_files_of_the_page():
    assert LAUNCH_OPTIONS["css"].endswith(read_static_file("theme.css"))
    assert LAUNCH_OPTIONS["css"].startswith(":root { --good: rgb(")
    named = {path.name for path in (UI / "components").glob("*.js")}
    used = {
        node.args[0].value
        for path in UI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "read_static_file"
    }
    assert used == named | {"theme.css"}  # none is missing, and none is dead
