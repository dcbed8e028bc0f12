"""The walls of the house: every room is known here, and imports point one way."""

import ast
import importlib
import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest
from places import ROOT

import diffusionad

# Room -> rooms that it may import, beside its own modules. "diffusionad" and "training" are the files
# right in these folders. What training and hub import of the package is not listed: any room but ui.
ROOMS = {
    "diffusionad": {"images", "postprocessing", "models", "loading", "inspection", "deploy", "line", "cli"},
    "diffusionad.images": set(),
    "diffusionad.postprocessing": {"images"},
    "diffusionad.models": {"images", "postprocessing"},
    "diffusionad.loading": {"diffusionad", "images", "models"},
    "diffusionad.inspection": {"diffusionad", "images", "models", "postprocessing"},
    "diffusionad.deploy": {"diffusionad", "images", "models", "postprocessing", "loading", "inspection"},
    "diffusionad.line": {"diffusionad", "images", "postprocessing", "inspection"},
    "diffusionad.cli": {
        "diffusionad", "images", "postprocessing", "loading", "inspection", "deploy", "line", "ui"
    },
    "diffusionad.ui": {"ui.tabs", "ui.components", "ui.serving"},
    "diffusionad.ui.tabs": {
        "diffusionad", "images", "postprocessing", "inspection", "ui.components", "ui.serving"
    },
    "diffusionad.ui.components": {"diffusionad", "images", "postprocessing", "inspection", "ui.serving"},
    "diffusionad.ui.serving": {"diffusionad", "images", "postprocessing", "loading", "inspection"},
    "training": {"config", "data", "synthesis", "trainer", "evaluation"},
    "training.config": set(),
    "training.data": {"training", "config"},
    "training.synthesis": {"training", "config", "data"},
    "training.trainer": {"training", "config", "data", "synthesis", "evaluation", "certificate"},
    "training.evaluation": {"training", "data", "synthesis"},
    "training.certificate": {"training", "synthesis", "evaluation"},
    "training.studies": {
        "training", "config", "data", "synthesis", "trainer", "evaluation", "certificate"
    },
    "training.benchmarks": {"training", "config", "trainer", "evaluation"},
    "training.demo": {"training", "config", "data", "evaluation", "studies"},
    "hub": set(),
}  # fmt: skip
TOPS = ("diffusionad", "training", "hub")

HEAVY = {"accelerate", "gradio", "matplotlib", "skimage", "sklearn", "torchvision"}
# They also serve an exported model, which runs without torch.
WITHOUT_TORCH = (
    "deploy.about", "deploy.exported", "deploy.runtimes", "images.image_io", "images.preparation",
    "images.tiling", "inspection.panel", "inspection.recalibration", "inspection.visualize", "picture_result",
    "streaming",
) + tuple(
    f"postprocessing.{name}"
    for name in (
        "scoring", "regions", "roi", "calibration", "contrast", "drift", "familiarity", "fusion",
        "known_marks", "postprocessor", "repair", "verdict"
    )
)  # fmt: skip


def name_of(path: Path) -> str:
    """Dotted name of a module, such as "training.data.records"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))}


def room_of(module: str) -> str:
    """The folder in which a module lies; a file of readers/ lies in the room that readers/ belongs to."""
    parts = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    depth = 3 if parts[:2] == ["diffusionad", "ui"] else 2
    return ".".join(parts[:depth])


def imports_of(module: str) -> set[str]:
    """Dotted names of all imports of a module, those inside functions included."""
    path, found = MODULES[module], set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            members = {f"{base}.{alias.name}" for alias in node.names}
            found |= {member if member in MODULES else base for member in members}
    return found - {module}


IMPORTS = {module: imports_of(module) for module in MODULES}


def importers(packages: set[str], among: list[str]) -> dict[str, set[str]]:
    """Modules that import one of `packages`, by their top-level names."""
    tops = {module: {name.partition(".")[0] for name in IMPORTS[module]} for module in among}
    return {module: found & packages for module, found in tops.items() if found & packages}


def modules_in(*rooms: str) -> list[str]:
    return [module for module in MODULES if room_of(module) in rooms]


def test_the_walk_sees_relative_imports_and_those_inside_functions():
    assert "training.data.records" in IMPORTS["training.data.catalog"]  # from .records import ...
    assert "torch" in IMPORTS["diffusionad.cli.model"]  # inside a function


def test_every_folder_is_a_room_that_is_listed():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_rooms_that_it_may(room):
    top = room.partition(".")[0]
    allowed = {room} | {name if name == top else f"{top}.{name}" for name in ROOMS[room]}
    ours = {name: IMPORTS[name] & MODULES.keys() for name in modules_in(room)}
    of_this_top = {
        module: {name for name in names if name.partition(".")[0] == top and room_of(name) not in allowed}
        for module, names in ours.items()
    }
    assert {module: names for module, names in of_this_top.items() if names} == {}


def test_no_import_runs_in_a_circle():
    graph = {module: IMPORTS[module] & MODULES.keys() for module in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_package_needs_neither_training_nor_hub():
    assert importers({"training", "hub"}, [m for m in MODULES if m.startswith("diffusionad")]) == {}


def test_training_and_hub_meet_on_disk_only():
    assert importers({"hub"}, [m for m in MODULES if m.startswith("training")]) == {}
    assert importers({"training"}, [m for m in MODULES if m.startswith("hub")]) == {}


def test_training_and_hub_import_their_own_modules_relatively():
    """In a wheel they are diffusionad.training and diffusionad.hub."""
    own = [path for name, path in MODULES.items() if name.partition(".")[0] in ("training", "hub")]
    nodes = chain.from_iterable(ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in own)
    absolute = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module]
    assert [name for name in absolute if name.partition(".")[0] in ("training", "hub")] == []


def test_the_package_is_light():
    light = [m for m in MODULES if m.startswith("diffusionad") and not m.startswith("diffusionad.ui")]
    assert "diffusionad.pipeline" in light
    assert importers(HEAVY, light) == {}


def test_only_the_screens_import_gradio():
    assert importers({"gradio"}, [m for m in MODULES if not m.startswith("diffusionad.ui")]) == {}


def test_nothing_imports_torchvision():
    assert importers({"torchvision"}, list(MODULES)) == {}


def test_what_serves_an_exported_model_needs_no_torch():
    modules = [f"diffusionad.{name}" for name in WITHOUT_TORCH]
    assert importers({"torch", "diffusers"}, modules) == {}
    assert modules_loaded_by(f"import {', '.join(modules)}") == set()


def test_importing_the_package_loads_neither_torch_nor_diffusers():
    assert modules_loaded_by("import diffusionad; dir(diffusionad); diffusionad.__version__") == set()


def modules_loaded_by(code: str) -> set[str]:
    """Which of torch, diffusers and scipy.stats a fresh process has loaded after running `code`."""
    report = "import sys; print(*({'torch', 'diffusers', 'scipy.stats'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; {report}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(ran.stdout.split())


def test_functions_and_files_are_short():
    """No function above 60 lines but the pipeline's `__call__`, no file above 300 but the pipeline."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    files = {name for name, text in texts.items() if len(text.splitlines()) > 300}
    functions = {
        f"{name}.{node.name}"
        for name, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    }
    assert files == {"diffusionad.pipeline"}
    assert functions == {"diffusionad.pipeline.__call__"}


@pytest.mark.parametrize("name", diffusionad.__all__)
def test_every_public_name_resolves(name):
    assert getattr(diffusionad, name).__name__ == name
    assert name in dir(diffusionad)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'diffusionad' has no attribute 'nonsense'"):
        diffusionad.nonsense  # noqa: B018


def test_public_names_are_the_same_for_editors_as_at_run_time():
    tree = ast.parse((ROOT / "diffusionad" / "__init__.py").read_text())
    [guard] = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name: node.module for node in guard.body for alias in node.names}
    assert sorted(names) == diffusionad.__all__
    for name, module in names.items():
        assert getattr(importlib.import_module(module), name) is getattr(diffusionad, name)


@pytest.mark.parametrize("top", ["training", "hub"])
def test_no_module_hides_an_installed_or_standard_one(top):
    stems = {path.stem for path in (ROOT / top).glob("*.py")} - {"__init__"}
    taken = sys.stdlib_module_names | {"accelerate", "datasets", "diffusers", "evaluate", "gradio", "spaces"}
    assert stems & taken == set()
