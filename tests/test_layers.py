"""The house: a room imports only from rooms to its left; inside a room, files form floors without circles."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("profiles", "policies", "sim", "scheduler", "nearfar", "commands", "cli")
"""From left to right: four rooms, the Python API, the commands, the door."""
DOORS = ("nearfar", "cli")  # of one file each


def modules() -> dict[str, Path]:
    """Every product module by its dotted name."""
    found = {door: ROOT / f"{door}.py" for door in DOORS}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, path: Path, *, everywhere: bool) -> Iterator[str]:
    """The product modules that a module imports: at its top level, or `everywhere` in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in MODULES:
                    yield full
                elif base in MODULES:
                    yield base


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_room_imports_only_from_its_left(name: str) -> None:
    room = ROOMS.index(name.split(".")[0])
    for imported in imports(name, MODULES[name], everywhere=True):
        assert ROOMS.index(imported.split(".")[0]) <= room, f"{name} imports {imported}"


def test_every_package_is_a_room_and_is_shipped() -> None:
    folders = {name if path.name == "__init__.py" else name.rpartition(".")[0] for name, path in MODULES.items()}
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert set(shipped) == folders - {""}


def test_there_are_no_circles() -> None:
    edges = {name: set(imports(name, path, everywhere=False)) - {name} for name, path in MODULES.items()}
    left = dict(edges)
    while left:
        free = [name for name, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]


def test_facts_and_policies_know_no_engines() -> None:
    for name, path in MODULES.items():
        if name.split(".")[0] in ("profiles", "policies"):
            text = path.read_text(encoding="utf-8")
            assert "import simpy" not in text
            assert "import ray" not in text
            assert "import numba" not in text or name == "policies.compiled"
