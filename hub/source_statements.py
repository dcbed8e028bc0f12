"""Our sources as the statements at the top of their modules: what each binds, what it uses, how it reads."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import diffusionad

PACKAGE = "diffusionad"
SOURCES = Path(diffusionad.__file__).parent

# It loads by our allow-list, which imports all component classes; diffusers' own takes its place.
LEFT_OUT = frozenset({"from_pretrained"})


@dataclass(frozen=True)
class Statement:
    """One statement at the top of a module, with the comment above it."""

    module: str
    text: str
    binds: frozenset[str]
    uses: frozenset[str]  # names of other packages, of Python and of the function itself among them
    is_block: bool  # a class or a function


@dataclass
class Sources:
    """A module of ours and all those it imports, those first that others build on."""

    texts: dict[str, str] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    inside: dict[str, dict[str, str]] = field(default_factory=dict)  # module -> name -> our module it is from
    outside: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)  # the same of other packages
    problems: dict[str, str] = field(default_factory=dict)  # module -> why nothing of it can be taken


def read_sources(module: str, components: set[str], sources: Sources) -> Sources:
    """Add a module, and what it imports from our package, to `sources`.

    Args:
        module: such as "diffusionad.pipeline".
        components: classes that live in other files; annotations name `ModelMixin` in their place.
        sources: what is added to, and returned.
    """
    text = (SOURCES.parent / file_name(module)).read_text(encoding="utf-8")
    sources.texts[module], sources.inside[module], sources.outside[module] = text, {}, {}
    tree = ast.parse(text)
    statements = []
    lines: list[str | None] = list(text.splitlines())
    previous_end = 0
    for node in tree.body:
        where = f"{file_name(module)}:{node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, origin in origins_of(node):
                if origin[0].partition(".")[0] != PACKAGE:
                    sources.outside[module][name] = origin
                elif name != origin[1] or origin[0] == PACKAGE:
                    problem = f"{where}: import names of ours from their modules, unchanged."
                    sources.problems.setdefault(module, problem)
                else:
                    sources.inside[module][name] = origin[0]
                    if origin[0] not in sources.texts:
                        read_sources(origin[0], components, sources)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign):
            _leave_out_methods(node, lines)
            if _replace_annotations(node, lines, components):
                sources.outside[module]["ModelMixin"] = ("diffusers", "ModelMixin")
            first = _first_line(node)
            while first - 1 > previous_end and lines[first - 2].startswith("#"):
                first -= 1  # the comment above belongs to it
            text = "\n".join(line for line in lines[first - 1 : node.end_lineno] if line is not None)
            statements.append(_describe(module, node, text))
        elif not _is_docstring(node):
            problem = f"{where}: a {type(node).__name__} at the top of a module cannot be flattened."
            sources.problems.setdefault(module, problem)
        previous_end = node.end_lineno
    sources.statements += statements  # after those of the modules that it imports
    return sources


def origins_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each name that an import binds, with (module, name in it); ("module", "") for the module itself."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, (node.module, alias.name)
        else:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")


def _leave_out_methods(node: ast.stmt, lines: list[str | None]) -> None:
    if not isinstance(node, ast.ClassDef):
        return
    for method in [m for m in node.body if isinstance(m, ast.FunctionDef) and m.name in LEFT_OUT]:
        first = _first_line(method)
        while lines[first - 2] == "":
            first -= 1
        lines[first - 1 : method.end_lineno] = [None] * (method.end_lineno - first + 1)
        node.body.remove(method)


def _replace_annotations(node: ast.stmt, lines: list[str | None], components: set[str]) -> bool:
    """Annotate components of ours as `ModelMixin`: their classes are in other files. True if any was."""
    annotations = [n.annotation for n in ast.walk(node) if isinstance(n, ast.arg) and n.annotation]
    names = [n for a in annotations for n in ast.walk(a) if isinstance(n, ast.Name) and n.id in components]
    for name in sorted(names, key=lambda n: -n.col_offset):
        line = lines[name.lineno - 1].encode()  # columns count bytes
        line = line[: name.col_offset] + b"ModelMixin" + line[name.end_col_offset :]
        lines[name.lineno - 1] = line.decode()
        name.id = "ModelMixin"
    return bool(names)


def _describe(module: str, node: ast.stmt, text: str) -> Statement:
    is_block = isinstance(node, ast.FunctionDef | ast.ClassDef)
    if is_block:
        binds = {node.name}
    else:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        binds = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and _is_stored(n)}
    uses = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not _is_stored(n)}
    return Statement(module, text, frozenset(binds), frozenset(uses), is_block)


def file_name(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)
