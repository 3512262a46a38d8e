"""The plan of the house: no circle of imports, layers that hold, purity that is written down."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nftrtsp"

#: Files and clocks, and who takes of these modules only what is neither.
FILES_AND_CLOCKS = {"io", "os", "pathlib", "shutil", "tempfile", "time"}
HARMLESS = {
    ("nftrtsp.figures", "time"),  # strftime: a time as text
    ("nftrtsp.helper.fair_queue", "os"),  # urandom, once, for a hash that nobody foresees
    ("nftrtsp.ruleset.refusal", "os"),  # strerror: an errno as text
}


@cache
def trees() -> dict[str, ast.Module]:
    """All modules by name."""
    found = {}
    for path in sorted((ROOT / "nftrtsp").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


@cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports, anywhere in it: ours by module, of others the package."""
    ours = trees()
    found: dict[str, frozenset[str]] = {}
    for module, tree in ours.items():
        names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in ours else node.module for name in whole}
        found[module] = frozenset(
            name if name in ours else name.split(".")[0] for name in names if name != module
        )
    return found


@cache
def reaches(module: str) -> frozenset[str]:
    """All that a module imports, by others too."""
    found: set[str] = set()
    todo = [module]
    while todo:
        for name in imports().get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return frozenset(found)


def contracts() -> list[dict[str, Any]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return found


def layers() -> Iterator[tuple[int, str]]:
    """Each package or module of the layers with its height, the lowest first."""
    (contract,) = (each for each in contracts() if each["type"] == "layers")
    for height, layer in enumerate(reversed(contract["layers"])):
        yield from ((height, name.strip()) for name in layer.split("|"))


def height(module: str) -> int | None:
    found = [level for level, name in layers() if module == name or module.startswith(f"{name}.")]
    return found[0] if found else None


def test_no_module_imports_itself_by_others_not_even_for_types() -> None:
    assert {module for module in trees() if module in reaches(module)} == set()


def test_every_module_has_a_layer_and_imports_nothing_above_it() -> None:
    entries = {"nftrtsp", "nftrtsp.__main__"}
    assert {module for module in trees() if height(module) is None} == entries
    upwards = {
        (module, name)
        for module in set(trees()) - entries
        for name in imports()[module] & set(trees())
        if name != "nftrtsp" and (height(name) or 0) > (height(module) or 0)
    }
    assert upwards == set()


def pure_by_contract() -> tuple[set[str], set[str]]:
    """The modules that the contract calls pure, and what it forbids them."""
    (contract,) = (each for each in contracts() if each["name"].startswith("Pure parts"))
    listed = contract["source_modules"]
    pure = {module for module in trees() if any(f"{module}.".startswith(f"{name}.") for name in listed)}
    return pure, set(contract["forbidden_modules"])


def reads(module: str) -> set[str]:
    """What a module itself imports to read files and clocks."""
    return {name for name in imports()[module] & FILES_AND_CLOCKS if (module, name) not in HARMLESS}


def test_what_is_pure_reads_no_files_and_no_clocks_either() -> None:
    pure, _ = pure_by_contract()
    assert {module: reads(module) for module in pure if reads(module)} == {}


def test_the_contract_names_every_pure_module() -> None:
    pure, forbidden = pure_by_contract()
    (contract,) = (each for each in contracts() if each["name"].startswith("Pure parts"))
    exempt = {tuple(edge.split(" -> ")) for edge in contract["ignore_imports"]}
    touched = {
        module
        for module in trees()
        if any(
            (module, name) not in exempt for name in imports()[module] & (forbidden | {"click", "textual"})
        )
    }
    in_fact = {
        module
        for module, tree in trees().items()
        if len(tree.body) > 1 and not reads(module) and not ({module} | reaches(module)) & touched
    }
    without_words = {"nftrtsp", "nftrtsp.config"}  # a version; a package that hands on its parts
    assert in_fact - pure - without_words == set(), "name them in pyproject.toml"


PAGES = [*sorted(ROOT.glob("docs/*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_the_docs_name_are_there(page: Path) -> None:
    named = set(re.findall(r"`([\w./-]+/[\w.-]+\.py)`", page.read_text()))
    assert {name for name in named if not any((root / name).exists() for root in (ROOT, PACKAGE))} == set()


def test_the_rooms_of_the_design_have_the_files_it_names() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)/` \| (.*) \|$", (ROOT / "docs/design.md").read_text())
    assert {room for room, _ in rows} == {
        path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
    } - {"cli", "monitor", "lab", "config"}
    missing = {
        (room, name)
        for room, files in rows
        for name in re.findall(r"`(\w+)`", files)
        if not list((PACKAGE / room).rglob(f"{name}.py"))
    }
    assert missing == set()


def test_one_name_of_a_class_is_one_thing() -> None:
    named: dict[str, list[str]] = {}
    for path in sorted(Path("nftrtsp").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(str(path))
    assert {name: places for name, places in named.items() if len(places) > 1} == {}
