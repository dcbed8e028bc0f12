"""A published model loads without our package, through diffusers alone, and computes the same."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from diffusers import DiffusionPipeline
from places import ROOT

import diffusionad
from diffusionad import DiffusionADPipeline, learn_marks
from diffusionad.loading.fingerprint import pipeline_sha256
from hub import source_statements
from hub.official_checkpoint import to_pipeline
from hub.source_statements import LEFT_OUT
from hub.standalone_code import flatten, write_standalone_code

PACKAGE = Path(diffusionad.__file__).parent

# Run by `python -I -S`: without the installed packages' start files, one of which makes `diffusionad`
# importable from a clone; only the folder of the installed packages is added.
STRANGER = """
import importlib.util, inspect, json, sys
sys.path.append(sys.argv[1])
found = importlib.util.find_spec("diffusionad")
assert found is None or found.origin is None  # an installed clone leaves a folder without code
import numpy as np, torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
logging.disable_progress_bar()
torch.set_num_threads(int(sys.argv[2]))
asked = json.loads(sys.argv[3])
takes_dtype = '"dtype"' in inspect.getsource(DiffusionPipeline.from_pretrained)  # formerly torch_dtype
pictures = list(np.load(asked["pictures"]).values())
for i, (options, calls) in enumerate(asked["loads"]):
    options["dtype" if takes_dtype else "torch_dtype"] = getattr(torch, options.pop("dtype", "float32"))
    pipeline = DiffusionPipeline.from_pretrained(**options, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    for j, call in enumerate(calls):
        output = pipeline(pictures, output_type="np", **call)
        np.savez(f"{asked['to']}/{i}-{j}.npz", score=output.score, is_anomalous=output.is_anomalous,
                 p_value=output.p_value,
                 **{f"reconstruction_{k}": r for k, r in enumerate(output.reconstruction)},
                 regions=repr(output.regions), known_marks=repr(output.known_marks),
                 threshold=output.threshold,
                 **{f"map_{k}": m for k, m in enumerate(output.anomaly_map)},
                 **{f"mask_{k}": m for k, m in enumerate(output.mask)})
    try:
        pipeline(np.zeros((3, 3)))
    except ValueError as error:
        print(json.dumps([type(pipeline).__name__, type(error).__name__, str(error)]))
    pipeline.configure(threshold=0.125).save_pretrained(f"{asked['to']}/saved-{i}")
assert not any(name.partition(".")[0] == "diffusionad" for name in sys.modules)
"""

CALLS = [
    {},
    {"threshold": 0.5, "min_region_area": 20, "ignore_border": 3, "batch_size": 2},
    {"t_fine": 100, "t_coarse": 300, "guidance_weight": 0.5, "num_noise_samples": 2},
    {"num_inference_steps": 3},
]


@pytest.fixture
def photos(make_pictures) -> list[np.ndarray]:
    """Of several sizes and kinds."""
    small, large = make_pictures(1, side=50)[0], make_pictures(1, side=97, seed=1)[0]
    grey = (make_pictures(1, side=80, seed=2)[0][:60, :, 0].astype(np.uint16)) * 257
    return [small, large, grey, np.random.default_rng(1).random((64, 64, 4), dtype=np.float32)]


@pytest.fixture
def official_model_folder(tmp_path) -> Path:
    size = official.Size(image=32, base=32, multipliers=(1, 2), attention="16", segmenter_base=2)
    pipeline = to_pipeline(official.write_checkpoint(tmp_path / "params.pt", size), "nut")
    pipeline.save_pretrained(tmp_path / "official")
    return tmp_path / "official"


@pytest.fixture
def folder(tiny_model_folder, tmp_path) -> Path:
    """A saved pipeline with its standalone code and a half-precision variant."""
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    half = DiffusionADPipeline.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(folder, variant="fp16")
    write_standalone_code(folder)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def load_as_a_stranger(loads: list, photos: list, to: Path) -> list:
    """What the fresh process printed; its results are in `to`."""
    np.savez(to / "pictures.npz", *photos)
    asked = {"loads": loads, "pictures": str(to / "pictures.npz"), "to": str(to)}
    packages = sysconfig.get_paths()["purelib"]
    command = [sys.executable, "-I", "-S", "-c", STRANGER, packages, str(torch.get_num_threads())]
    environment = {**os.environ, "HF_HOME": str(to / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    ran = subprocess.run(
        [*command, json.dumps(asked)], cwd=to, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    # Older versions take `trust_remote_code` for an argument of the pipeline, besides heeding it.
    harmless = "Keyword arguments {'trust_remote_code': True} are not expected by DiffusionADPipeline"
    complaints = [line for line in ran.stderr.splitlines() if not line.startswith(harmless)]
    assert complaints == [], "diffusers complains of types or files that do not fit"
    return [json.loads(line) for line in ran.stdout.splitlines()]


def assert_same(found: np.lib.npyio.NpzFile, expected) -> None:
    np.testing.assert_allclose(found["score"], expected.score, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found["is_anomalous"], expected.is_anomalous)
    assert found["threshold"] == expected.threshold
    assert str(found["regions"]) == repr(expected.regions)
    assert str(found["known_marks"]) == repr(expected.known_marks)
    for i, (anomaly_map, mask) in enumerate(zip(expected.anomaly_map, expected.mask, strict=True)):
        np.testing.assert_allclose(found[f"map_{i}"], anomaly_map, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found[f"mask_{i}"], mask)
        repaired = expected.reconstruction[i]
        np.testing.assert_allclose(found[f"reconstruction_{i}"], repaired, rtol=0, atol=1e-6)
    if expected.p_value is not None:
        np.testing.assert_array_equal(found["p_value"], expected.p_value)


def test_a_repository_on_the_hub_loads_without_the_package(
    hub, folder, official_model_folder, photos, tmp_path
):
    write_standalone_code(official_model_folder)
    hub.add_model("org/tiny", {**files_of(folder), "README.md": b"---\nlicense: mit\n---\n"})
    hub.add_model("org/official", files_of(official_model_folder))
    tiles_folder = tmp_path / "tiles"
    in_tiles = {"resize_mode": "tile", "shorter_side": 80}
    with_marks = DiffusionADPipeline.from_pretrained(folder, **in_tiles)
    assert learn_marks(with_marks, photos[0]) > 0
    with_marks.save_pretrained(tiles_folder)
    write_standalone_code(tiles_folder)
    hub.add_model("org/tiles", files_of(tiles_folder))
    # As the Hub's page shows it, and as the cards of models from before version 0.2 say it.
    tiny, tiles = ({"pretrained_model_name_or_path": name} for name in ("org/tiny", "org/tiles"))
    theirs = {"pretrained_model_name_or_path": "org/official", "custom_pipeline": "org/official"}
    half = {**tiny, "variant": "fp16"}
    brief = {**tiny, "dtype": "bfloat16", "device_map": "cpu"}
    loads = [(tiny, CALLS), (theirs, CALLS[:2]), (half, CALLS[:1]), (tiles, CALLS[:2]), (brief, CALLS[:1])]
    said = load_as_a_stranger(loads, photos, tmp_path)

    ours = [
        DiffusionADPipeline.from_pretrained(folder),
        DiffusionADPipeline.from_pretrained(official_model_folder),
        DiffusionADPipeline.from_pretrained(folder, variant="fp16"),
        DiffusionADPipeline.from_pretrained(tiles_folder),
        DiffusionADPipeline.from_pretrained(folder, dtype=torch.bfloat16),
    ]
    verdicts = set()
    for i, (_, calls) in enumerate(loads):
        for j, call in enumerate(calls):
            expected = ours[i](photos, output_type="np", **call)
            verdicts |= set(expected.is_anomalous.tolist())
            with np.load(tmp_path / f"{i}-{j}.npz", allow_pickle=True) as found:
                assert_same(found, expected)
        with pytest.raises(ValueError) as error:
            ours[i](np.zeros((3, 3)))
        assert said[i] == ["DiffusionADPipeline", type(error.value).__name__, str(error.value)]
        # What they save, our package loads.
        saved = DiffusionADPipeline.from_pretrained(tmp_path / f"saved-{i}", dtype=ours[i].unet.dtype)
        assert saved.settings() == {**ours[i].settings(), "threshold": 0.125}
        np.testing.assert_array_equal(saved(photos).score, ours[i](photos).score)
    assert verdicts == {True, False}
    assert ours[3](photos).known_marks[0]


def test_the_hubs_snippet_says_what_is_missing_when_code_may_not_run(hub, folder, tmp_path):
    hub.add_model("org/tiny", files_of(folder))
    with pytest.raises(ValueError, match=r"trust_remote_code=True"):
        DiffusionPipeline.from_pretrained("org/tiny", cache_dir=tmp_path / "cache")


def test_our_package_still_loads_it_and_reads_no_code(hub, folder, tiny_pipeline, photos, tmp_path):
    hub.add_model("org/tiny", files_of(folder))
    pipeline = DiffusionADPipeline.from_pretrained("org/tiny", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(pipeline(photos).score, tiny_pipeline(photos).score)
    assert [request for request in hub.requests if request.endswith(".py")] == []
    assert list((tmp_path / "cache").rglob("*.py")) == []


def test_the_standalone_code_changes_only_the_class_name_and_no_hash(tiny_model_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    before = files_of(folder)
    write_standalone_code(folder)
    after = files_of(folder)
    assert set(after) - set(before) == {"pipeline.py", "segmenter/diffusionad.py"}
    index, published = json.loads(before["model_index.json"]), json.loads(after["model_index.json"])
    assert published == {**index, "_class_name": ["pipeline", "DiffusionADPipeline"]}
    assert {name for name in before if before[name] != after[name]} == {"model_index.json"}
    assert pipeline_sha256(folder) == pipeline_sha256(tiny_model_folder)
    write_standalone_code(folder)
    assert files_of(folder) == after


def test_each_component_of_ours_brings_its_class(official_model_folder):
    write_standalone_code(official_model_folder)
    code = {name for name in files_of(official_model_folder) if name.endswith(".py")}
    assert code == {"pipeline.py", "segmenter/diffusionad.py", "unet/diffusionad.py"}


def test_a_memory_of_marks_brings_its_class_and_an_absent_one_nothing(fresh_pipeline, photos, tmp_path):
    fresh_pipeline.save_pretrained(tmp_path / "without")
    learn_marks(fresh_pipeline, photos[0])
    fresh_pipeline.save_pretrained(tmp_path / "with")
    for name, expected in (("without", False), ("with", True)):
        write_standalone_code(tmp_path / name)
        assert (tmp_path / name / "mark_memory/diffusionad.py").is_file() is expected
    index = json.loads((tmp_path / "without/model_index.json").read_text())
    index["mark_memory"] = [None, None]
    (tmp_path / "without/model_index.json").write_text(json.dumps(index))
    write_standalone_code(tmp_path / "without")
    assert not (tmp_path / "without/mark_memory").exists()


def test_what_is_no_saved_pipeline_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model_index\.json` is missing; .* not a saved pipeline"):
        write_standalone_code(tmp_path)


@pytest.fixture(scope="module")
def code() -> dict[str, str]:
    names = ("DiffusionADPipeline", "AnomalySegmenter", "FeatureMemory", "MarkMemory", "OfficialUNet")
    return {name: flatten(name, "For a test.") for name in names}


def test_the_code_holds_one_pipeline_and_no_import_of_the_package(code, tmp_path):
    for node in ast.walk(ast.parse(code["DiffusionADPipeline"])):
        assert not isinstance(node, ast.ImportFrom) or node.module.partition(".")[0] != "diffusionad"
        assert not isinstance(node, ast.Import) or all("diffusionad" not in a.name for a in node.names)
    (tmp_path / "pipeline.py").write_text(code["DiffusionADPipeline"])
    spec = importlib.util.spec_from_file_location("flattened", tmp_path / "pipeline.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["flattened"] = module
    spec.loader.exec_module(module)
    del sys.modules["flattened"]
    pipelines = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, DiffusionPipeline)]
    assert [c.__name__ for c in pipelines if c is not DiffusionPipeline] == ["DiffusionADPipeline"]


def test_the_code_is_our_sources_statement_by_statement(code):
    def statements(text: str) -> dict[str, str]:
        """Each class or function, without annotations, which may be wider, and what is left out."""
        found = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.arg):
                        inner.annotation = None
                    if isinstance(inner, ast.AnnAssign):
                        inner.annotation = ast.Constant(None)
                    if isinstance(inner, ast.FunctionDef):
                        inner.returns = None
                    if isinstance(inner, ast.ClassDef):
                        inner.bases = [n for n in inner.bases if getattr(n, "id", "") not in LEFT_OUT]
                found[node.name] = ast.dump(node)
        return found

    for text in code.values():
        ours = {}
        modules = re.findall(r"^# From diffusionad/([\w/]+\.py)$", text, flags=re.MULTILINE)
        assert any("/" in module for module in modules)  # those in sub-packages, too
        for module in modules:
            ours |= statements((PACKAGE / module).read_text())
        flattened = statements(text)
        assert flattened == {name: ours[name] for name in flattened}
    # Only what is used: the pipeline searches no folders, the segmenter needs no pipeline.
    assert {"read_image", "DiffusionADPipeline"} <= statements(code["DiffusionADPipeline"]).keys()
    assert "find_images" not in statements(code["DiffusionADPipeline"])
    assert set(statements(code["AnomalySegmenter"])) == {"_conv_norm_act", "AnomalySegmenter"}


def test_the_code_is_as_tidy_as_ours_and_says_where_it_comes_from(code, tmp_path):
    for name, text in code.items():
        (tmp_path / f"{name}.py").write_text(text)
    config = ROOT / "pyproject.toml"
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        subprocess.run([*ruff, *command, "--config", str(config), "--no-cache", str(tmp_path)], check=True)
    header = ast.get_docstring(ast.parse(code["DiffusionADPipeline"]))
    assert header.startswith("For a test.\n\nMade from diffusionad ")
    assert "diffusionad/guidance.py" in header and "hub/standalone_code.py" in header
    source = (PACKAGE / "pipeline.py").read_text().splitlines()
    comments = {line.strip() for line in source if line.strip().startswith("#")}
    assert len(comments) > 8
    assert comments <= {line.strip() for line in code["DiffusionADPipeline"].splitlines()}


def test_the_code_is_the_same_every_time(code):
    program = (
        "from hub.standalone_code import flatten; print(end=flatten('DiffusionADPipeline', 'For a test.'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == code["DiffusionADPipeline"]


@pytest.fixture
def write_sources(tmp_path, monkeypatch):
    """Function (sources by module) that makes them the package, with the public class C in module a."""

    def write(sources: dict[str, str]) -> None:
        package = tmp_path / "diffusionad"
        for name, text in sources.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(source_statements, "SOURCES", package)
        monkeypatch.setitem(diffusionad._MODULE_OF, "C", "diffusionad.a")

    return write


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"a": "from diffusionad.b import f as g\nclass C:\n    x = g"}, r"a\.py:1: import names of ours"),
        ({"a": "from diffusionad import f\nclass C:\n    x = f"}, r"a\.py:1: import names of ours"),
        ({"a": "import diffusionad.b\nclass C:\n    x = 1"}, r"a\.py:1: import names of ours"),
        (
            {"a": "class C:\n    def f(self):\n        from diffusionad.b import f"},
            r"`C` imports diffusionad inside a function",
        ),
        (
            {"a": "from diffusionad.b import f\ndef g(): ...\nclass C:\n    x = f, g",
             "b": "def f(): g()\ndef g(): return 2"},
            r"\['g'\] mean different things",
        ),
        (
            {"a": "from os import path\nfrom diffusionad.b import f\nclass C:\n    x = f, path",
             "b": "from sys import path\ndef f(): path"},
            r"`path` is imported from elsewhere in diffusionad/a\.py",
        ),
        (
            {"a": "from diffusionad.models.segmenter import AnomalySegmenter\nclass C:\n"
             "    x = AnomalySegmenter",
             "models/segmenter": "class AnomalySegmenter: ..."},
            r"\['AnomalySegmenter'\] may be used in annotations only",
        ),
        ({"a": "if 1:\n    x = 1\nclass C: ..."}, r"a\.py:1: a If at the top of a module"),
        ({"a": "from diffusionad.models import c\nclass C:\n    x = c", "models/c": ""}, r"a\.py:1: import"),
        ({"a": "from .b import f\nclass C:\n    x = f"}, r"a\.py:1: import names of ours"),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_flattened_are_named(write_sources, sources, words):
    write_sources({"b": "def f(): ...", **sources})
    with pytest.raises(ValueError, match=words):
        flatten("C", "For a test.")


def test_modules_may_log_and_what_is_not_used_may_be_anything(write_sources):
    logger = "import logging\n\nlogger = logging.getLogger(__name__)\n"
    text = f"{logger}from diffusionad.b import f\nfrom diffusionad.c import unused\n"
    write_sources(
        {
            "a": text
            + "class PretrainedMixin: x = unused\nclass C(PretrainedMixin, dict):\n    x = f, logger",
            "b": logger + "def f(): logger.info('b')",
            "c": "from os import logger\nif 1: ...\nprint()\ndef unused(): logger",
        }
    )
    flattened = flatten("C", "For a test.")
    assert flattened.count("logger = logging.getLogger(__name__)") == 1 and "unused" not in flattened
    assert "class C(dict):\n" in flattened and "PretrainedMixin" not in flattened
    assert re.findall("# From (.+)", flattened) == ["diffusionad/b.py", "diffusionad/a.py"]


def test_annotations_of_components_are_widened_since_their_classes_are_elsewhere(write_sources):
    text = "from diffusionad.models.segmenter import AnomalySegmenter\n\n\nclass C:\n"
    text += "    s: AnomalySegmenter | None = None\n\n"
    text += '    def f(self, ä="ä", s: int | AnomalySegmenter | None = None) -> list[AnomalySegmenter]: ...\n'
    write_sources({"a": text, "models/segmenter": "class AnomalySegmenter: ..."})
    flattened = flatten("C", "For a test.")
    assert 'def f(self, ä="ä", s: int | ModelMixin | None = None) -> list[ModelMixin]: ...' in flattened
    assert "    s: ModelMixin | None = None\n" in flattened
    assert "from diffusers import ModelMixin\n" in flattened and "class AnomalySegmenter" not in flattened


def test_dataclasses_and_decorators_of_sub_packages_work_in_one_file(write_sources):
    write_sources(
        {
            "models/output": DATACLASSES,
            "images/deep/size": "SIDE = 3\n",
            "a": "from diffusionad.models.output import Output, twice\n\n\n"
            "class C:\n"
            "    @twice\n"
            "    def side(self): return Output().side\n",
        }
    )
    flattened = flatten("C", "For a test.")
    modules = ["diffusionad/images/deep/size.py", "diffusionad/models/output.py", "diffusionad/a.py"]
    assert re.findall("# From (.+)", flattened) == modules
    assert "# Why it is frozen.\n@dataclass(frozen=True)\nclass Output:" in flattened
    names = {}
    exec(compile(flattened, "pipeline.py", "exec"), names)
    assert names["C"]().side() == 6


DATACLASSES = """\
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps

from diffusionad.images.deep.size import SIDE


def twice(function: Callable) -> Callable:
    @wraps(function)
    def doubled(*args):
        return 2 * function(*args)

    return doubled


# Why it is frozen.
@dataclass(frozen=True)
class Output:
    side: int = SIDE
    rest: list[int] = field(default_factory=list)
"""
