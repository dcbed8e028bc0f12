"""The documents name only files, modules, commands and options that exist."""

import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest
import yaml

from diffusionad.cli.main import COMMANDS, importable

ROOT = Path(__file__).parents[1]
SKIPPED = {"build", "dist", "node_modules", "runs"}
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(
        part in SKIPPED or (part.startswith(".") and part != ".github")
        for part in path.relative_to(ROOT).parts[:-1]
    )
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
# Without reports that a command wrote: they name the command of their time.
WRITTEN = [name for name in NAMES if not name.startswith("benchmarks/") or name == "benchmarks/README.md"]
MODULE = re.compile(r"-m ((?:training|hub|docs|diffusionad)(?:\.\w+)*)")
# `diffusionad COMMAND` at the start of a line of code or of a code span.
COMMAND = re.compile(r"(?:^ *|`)(diffusionad [a-z][\w-]*[^`\n]*)", re.MULTILINE)
# Columns of old commands, which the changelog sets beside the new ones.
HISTORY = re.compile(r"^\s*\| `[^|]*\|", re.MULTILINE)


def text_of(name: str) -> str:
    """Return a document with continued lines of code joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / name).read_text(encoding="utf-8"))
    return HISTORY.sub("|", text) if name == "CHANGELOG.md" else text


def links_of(text: str) -> list[str]:
    """Return the targets of links and pictures, without those in code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


@cache
def modules() -> frozenset[str]:
    """Return the names of all modules and packages of the clone."""
    files = [
        path for room in ("training", "hub", "docs", "diffusionad") for path in (ROOT / room).rglob("*.py")
    ]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    return frozenset(names | {name.removesuffix(".__main__") for name in names if name.endswith(".__main__")})


def complaint_of(line: str) -> str | None:
    """Return what is wrong with a command line, such as an option that does not exist."""
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.|…", "", line), comments=True)[1:]
    if words[0] not in COMMANDS:
        return f"{words[0]}: no such command"
    module, attribute, _ = COMMANDS[words[0]]
    declared: click.Command = getattr(importlib.import_module(importable(module)), attribute)
    try:
        _, extra, _ = declared.make_parser(click.Context(declared)).parse_args(words[1:])
    except click.UsageError as error:
        return f"{words[0]}: {error.format_message()}"
    return f"{words[0]}: {extra[0]} is one argument too many" if extra else None


def test_there_are_documents_with_links_modules_and_commands() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/training.md", "docs/data.md"} <= set(NAMES)
    everything = "\n".join(text_of(name) for name in NAMES)
    assert len(links_of(everything)) > 20
    assert len(MODULE.findall(everything)) > 10
    assert len(COMMAND.findall(everything)) > 10


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_resolves(name: str) -> None:
    missing = [
        link
        for link in links_of(text_of(name))
        if not re.match(r"[a-z]+:|#", link)
        and not (ROOT / name).parent.joinpath(link.partition("#")[0]).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("name", WRITTEN)
def test_every_module_that_is_run_exists(name: str) -> None:
    # `diffusionad.training` is the name in an installed wheel.
    named = {
        re.sub(r"^diffusionad\.(?=training|hub)", "", module) for module in MODULE.findall(text_of(name))
    }
    assert named - modules() == set()


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_exists_and_takes_its_arguments(name: str) -> None:
    complaints = [complaint_of(line) for line in COMMAND.findall(text_of(name))]
    assert [complaint for complaint in complaints if complaint] == []


def test_a_wrong_command_option_or_argument_would_be_found() -> None:
    text = (
        "`diffusionad teach photos/`\n\n    diffusionad train A --outputs B\n\n```\ndiffusionad push RUN\n```"
    )
    found = [complaint_of(line) for line in COMMAND.findall(text)]
    assert found[0] == "teach: no such command"
    assert found[1] is not None and "--outputs" in found[1]
    assert found[2] == "push: RUN is one argument too many"
    assert links_of("[a](b.md) `[c](d.md)` ![e](f.png)") == ["b.md", "f.png"]


def test_the_issue_forms_are_valid_yaml_with_unique_fields() -> None:
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.name for form in forms] == ["bug.yml", "config.yml", "feature.yml"]
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        fields = [field["id"] for field in content.get("body", []) if field["type"] != "markdown"]
        assert len(fields) == len(set(fields))
        assert "blank_issues_enabled" in content or fields
