"""Our sources as the statements at the top of their modules: what each binds and uses, and its text."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import diffusionad

PACKAGE = "diffusionad"
SOURCES = Path(diffusionad.__file__).parent

# Base classes that flattened classes do without. The first loads by our allow-list, which imports the classes
# of all components; diffusers' own methods take its place. The second is for many files, as our commands are.
LEFT_OUT = frozenset({"PretrainedMixin", "Streaming"})

Block = ast.FunctionDef | ast.ClassDef
Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Statement:
    """One statement at the top of a module, with the comment above it.

    Attributes:
        module: dotted name.
        text: source lines.
        binds: names that it defines.
        uses: names that it reads, those of other packages, of Python and of its own arguments among them.
        is_block: whether it is a class or a function.
    """

    module: str
    text: str
    binds: frozenset[str]
    uses: frozenset[str]
    is_block: bool


@dataclass
class Sources:
    """A module of ours and all modules that it imports, each after the modules that it builds on.

    Attributes:
        texts: source by module.
        statements: of all modules, in order.
        inside: module -> name -> our module that it is imported from.
        outside: module -> name -> (module, name in it) of another package.
        problems: module -> why nothing can be taken from it.
    """

    texts: dict[str, str] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    inside: dict[str, dict[str, str]] = field(default_factory=dict)
    outside: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read_sources(module: str, components: set[str], sources: Sources) -> Sources:
    """Add a module, and all that it imports from our package, to `sources`.

    Args:
        module: such as "diffusionad.models.segmenter".
        components: classes that live in other files; annotations name `ModelMixin` in their place.
        sources: is changed, and returned.
    """
    text = _path(module).read_text(encoding="utf-8")
    sources.texts[module], sources.inside[module], sources.outside[module] = text, {}, {}
    statements = []
    lines = text.splitlines()
    previous_end = 0
    for node in ast.parse(text).body:
        where = f"{file_name(module)}:{node.lineno}"
        if isinstance(node, Import):
            _read_import(node, module, where, components, sources)
        elif isinstance(node, Block | ast.Assign | ast.AnnAssign):
            _leave_out_bases(node, lines)
            if _replace_annotations(node, lines, components):
                sources.outside[module]["ModelMixin"] = ("diffusers", "ModelMixin")
            first = _first_line(node)
            while first - 1 > previous_end and lines[first - 2].startswith("#"):
                first -= 1  # the comment above belongs to it
            statements.append(_describe(module, node, "\n".join(lines[first - 1 : _last_line(node)])))
        elif not _is_docstring(node):
            problem = f"{where}: a {type(node).__name__} at the top of a module cannot be flattened."
            sources.problems.setdefault(module, problem)
        previous_end = _last_line(node)
    sources.statements += statements  # after the statements of the modules that it imports
    return sources


def origins_of(node: Import) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each name that an import binds with its origin: (module, name in it), or (module, "")."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, ("." * node.level + (node.module or ""), alias.name)
        else:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")


def file_name(module: str) -> str:
    """Return the path of a module beside the package, such as "diffusionad/models/segmenter.py"."""
    return f"{module.replace('.', '/')}.py"


def _path(module: str) -> Path:
    return SOURCES.parent / file_name(module)


def _read_import(node: Import, module: str, where: str, components: set[str], sources: Sources) -> None:
    for name, (origin, member) in origins_of(node):
        if origin.partition(".")[0] not in (PACKAGE, ""):
            sources.outside[module][name] = (origin, member)
        elif name != member or not _path(origin).is_file():  # renamed, relative, or from a package
            sources.problems.setdefault(
                module, f"{where}: import names of ours from their modules, unchanged."
            )
        else:
            sources.inside[module][name] = origin
            if origin not in sources.texts:
                read_sources(origin, components, sources)


def _leave_out_bases(node: ast.stmt, lines: list[str]) -> None:
    """Remove base classes from a `class` line; another base must follow each on the same line."""
    if not isinstance(node, ast.ClassDef):
        return
    for base, following in reversed([*zip(node.bases, node.bases[1:], strict=False)]):
        if isinstance(base, ast.Name) and base.id in LEFT_OUT:
            assert base.lineno == following.lineno, f"write the bases of {node.name} on one line"
            line = lines[base.lineno - 1]
            lines[base.lineno - 1] = line[: base.col_offset] + line[following.col_offset :]
            node.bases.remove(base)


def _replace_annotations(node: ast.stmt, lines: list[str], components: set[str]) -> bool:
    """Annotate components of ours as `ModelMixin`: their classes are in other files. True if any was."""
    names = [
        name
        for inner in ast.walk(node)
        for annotation in (getattr(inner, "annotation", None), getattr(inner, "returns", None))
        if annotation is not None
        for name in ast.walk(annotation)
        if isinstance(name, ast.Name) and name.id in components
    ]
    for name in sorted(names, key=lambda n: -n.col_offset):
        line = lines[name.lineno - 1].encode()  # columns count bytes
        line = line[: name.col_offset] + b"ModelMixin" + line[name.end_col_offset :]
        lines[name.lineno - 1] = line.decode()
        name.id = "ModelMixin"
    return bool(names)


def _describe(module: str, node: Block | ast.Assign | ast.AnnAssign, text: str) -> Statement:
    if isinstance(node, Block):
        binds = {node.name}
    else:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        binds = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and _is_stored(n)}
    uses = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not _is_stored(n)}
    return Statement(module, text, frozenset(binds), frozenset(uses), isinstance(node, Block))


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None, "ast.parse sets it"
    return node.end_lineno


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)
