"""The notebook runs from its first cell to its last, and shows what it says."""

import ast
import json
from typing import Any

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "examples" / "quick_start.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as Jupyter does; return the value of its last line, if that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_runs_and_tells_a_scratch_from_a_good_part(capsys):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")  # no stale pictures
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    installs, code = code[0], code[1:]
    assert installs.startswith("%pip install ")
    assert "git+https://github.com/diffusionad/diffusionad" in installs
    names: dict[str, Any] = {}
    shown = [run_cell(source, names) for source in code]
    assert "hole" in shown[0]
    assert shown[1]._repr_png_().startswith(b"\x89PNG") and shown[-1]._repr_png_()
    assert capsys.readouterr().out.splitlines()[-1] == "good defective"
