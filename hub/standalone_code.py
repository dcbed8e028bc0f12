"""Standalone code of a published model: Python files beside the weights, for people without our package.

`DiffusionPipeline.from_pretrained(ID, trust_remote_code=True)`, which the Hub shows for a model, runs two
kinds of files of a repository: `pipeline.py`, which `_class_name` of model_index.json names and which must
hold exactly one pipeline class, and for a component that model_index.json enters as ["diffusionad", NAME] the
file `diffusionad.py` in the component's folder. Both are cut out of our sources here, comments and all, so
that nobody keeps a second copy.
"""

import ast
import hashlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import diffusionad
from diffusionad.loading.components import COMPONENTS, entry_of
from diffusionad.loading.pretrained import STANDALONE_CODE

from .source_statements import PACKAGE, Sources, Statement, file_name, origins_of, read_sources

HEADER = '''\
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The DiffusionAD contributors
"""{purpose}

Made from {package} {version} by its hub/standalone_code.py; change the sources, not this file. They were
{names}, with the SHA-256
{digest}.
"""
'''

PIPELINE_PURPOSE = "Run by `DiffusionPipeline.from_pretrained(ID, trust_remote_code=True)`."


def write_standalone_code(folder: Path) -> None:
    """Add to a saved pipeline the code that diffusers needs to load it without our package.

    diffusers asks for `pipeline.py` apart from the rest: from a private repository with the token in HF_TOKEN
    or of the login, not with `token=`.

    Args:
        folder: a saved pipeline. It gets `pipeline.py`, which its model_index.json then names, and
            `<component>/diffusionad.py` for each component of ours.

    Raises:
        FileNotFoundError: `folder` holds no saved pipeline.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` is missing; `{folder}` is not a saved pipeline.")
    index = json.loads(path.read_text(encoding="utf-8"))
    class_name = _class_name(index)
    (folder / f"{STANDALONE_CODE}.py").write_text(flatten(class_name, PIPELINE_PURPOSE), encoding="utf-8")
    for name in COMPONENTS:
        library, component_class = index.get(name) or ("", "")  # [null, null]: an optional one that is absent
        if library == PACKAGE:
            code = flatten(component_class, f"The class of `{name}`, named in model_index.json.")
            (folder / name / f"{PACKAGE}.py").write_text(code, encoding="utf-8")
    index["_class_name"] = [STANDALONE_CODE, class_name]
    path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _class_name(index: dict[str, Any]) -> str:
    name = index["_class_name"]
    return name[-1] if isinstance(name, list) else name


def flatten(class_name: str, purpose: str) -> str:
    """Return the source of a public class, with all that it uses from our package, as one file.

    Args:
        class_name: a public name of the package.
        purpose: first line of the file's docstring.

    Raises:
        ValueError: the sources do what cannot be flattened; the message says what and where.
    """
    others = _component_classes() - {class_name}
    root = diffusionad._MODULE_OF[class_name]
    sources = read_sources(root, others, Sources())
    kept = _reachable(sources, root, class_name)
    modules = list(dict.fromkeys(statement.module for statement in kept))
    for module in modules:
        if module in sources.problems:
            raise ValueError(sources.problems[module])
    imports = _imports_of(kept, sources.outside)
    bound = [name for statement in kept for name in statement.binds]
    clashes = sorted({name for name in bound if bound.count(name) > 1 or name in imports})
    if clashes:
        raise ValueError(f"{clashes} mean different things in different modules; rename one of each.")
    misplaced = sorted(others & {name for statement in kept for name in statement.uses})
    if misplaced:
        raise ValueError(f"{misplaced} may be used in annotations only: they are in other files.")

    header = HEADER.format(
        purpose=purpose,
        package=PACKAGE,
        version=diffusionad.__version__,
        names=textwrap.fill(", ".join(file_name(module) for module in modules), 90),
        digest=hashlib.sha256("".join(sources.texts[module] for module in modules).encode()).hexdigest(),
    )
    code = f"{header}\n{_import_block(imports)}{_join(kept)}"
    if PACKAGE in _imported_packages(ast.parse(code)):
        raise ValueError(f"`{class_name}` imports {PACKAGE} inside a function; import it at the top.")
    return code


def _component_classes() -> set[str]:
    """Return the classes of ours that live in files of their own, beside their weights."""
    entries = [entry_of(component) for components in COMPONENTS.values() for component in components]
    return {class_name for library, class_name in entries if library == PACKAGE}


def _reachable(sources: Sources, module: str, name: str) -> list[Statement]:
    """Return what a name needs, in order; a statement that binds nothing goes with the names it uses."""

    def needs(statement: Statement) -> set[tuple[str, str]]:
        origins = sources.inside[statement.module]
        return {(origins.get(used, statement.module), used) for used in statement.uses}

    binds = {s: {(s.module, bound) for bound in s.binds} for s in sources.statements}
    wanted: set[tuple[str, str]] = {(module, name)}
    done: set[tuple[str, str]] = set()
    while todo := wanted - done:
        done |= todo
        wanted.update(*(needs(s) for s in sources.statements if binds[s] & todo))
    bound = set().union(*(binds[s] for s in sources.statements if binds[s] & wanted))
    kept = [s for s in sources.statements if binds[s] & wanted or (not s.binds and needs(s) & bound)]
    # Several modules make themselves a `logger`, in the same words: the first serves all.
    return [s for i, s in enumerate(kept) if s.text not in (earlier.text for earlier in kept[:i])]


def _imports_of(
    kept: list[Statement], outside: dict[str, dict[str, tuple[str, str]]]
) -> dict[str, tuple[str, str]]:
    """Return the imports of the statements from other packages, by name."""
    imports: dict[str, tuple[str, str]] = {}
    for statement in kept:
        for name in statement.uses & outside[statement.module].keys():
            origin = outside[statement.module][name]
            if imports.setdefault(name, origin) != origin:
                raise ValueError(f"`{name}` is imported from elsewhere in {file_name(statement.module)}.")
    return imports


def _import_block(imports: dict[str, tuple[str, str]]) -> str:
    """Write imports as ruff sorts them: the standard library first; modules, then names from modules."""
    blocks = []
    for is_standard in (True, False):
        modules: set[str] = set()
        names: dict[str, list[str]] = {}
        for name, (module, member) in imports.items():
            if (module.partition(".")[0] in sys.stdlib_module_names) != is_standard:
                continue
            if not member:
                modules.add(f"import {module}" + (f" as {name}" if name != module.partition(".")[0] else ""))
            else:
                names.setdefault(module, []).append(member + (f" as {name}" if name != member else ""))
        lines = [
            f"from {module} import {', '.join(sorted(names[module], key=_import_order))}"
            for module in sorted(names, key=str.lower)
        ]
        blocks += ["\n".join([*sorted(modules), *lines]) + "\n"] if modules or names else []
    return "\n".join(blocks)


def _import_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def _join(statements: list[Statement]) -> str:
    """Join statements with ruff's spacing and a comment where another module begins."""
    parts: list[str] = []
    before: Statement | None = None
    for statement in statements:
        is_first = before is None or before.module != statement.module
        if is_first:
            between = "" if before is None else "\n"
            parts.append(f"{between}\n# From {file_name(statement.module)}\n")
        is_apart = statement.is_block or (before is not None and not is_first and before.is_block)
        space = "\n\n" if is_apart else "\n" if is_first else ""
        parts.append(f"{space}{statement.text}\n")
        before = statement
    return "".join(parts)


def _imported_packages(tree: ast.Module) -> set[str]:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {module.partition(".")[0] for node in imports for _, (module, _) in origins_of(node)}
