"""The policy of a scenario with a fleet: a built-in, a file, numbers, or a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.check import RoutingPolicy, check_policy
from policies.layout import LAYOUT_VERSION, Kind
from policies.policy import builtin_names, load_policy
from policies.table import PolicyTable
from profiles.errors import UserError
from sim.scenario import RouterSpec
from sim.user_code import load_function

__all__ = ["PolicySource", "Routing", "located", "resolve_policy"]

PolicySource = str | Path | RouterSpec | Mapping[str, Any] | Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Who goes where: numbers for the scorer, and the user's function if one decides instead."""

    name: str
    table: PolicyTable
    router: RoutingPolicy | None = None
    notes: tuple[str, ...] = ()


def resolve_policy(source: PolicySource, *, folder: Path, tasks: Sequence[str]) -> Routing:
    """A policy by a built-in's name, from a YAML file (`FILE.yaml`), from a Python file (`FILE.py:FUNCTION`), from a
    mapping, or a function itself. Paths are relative to `folder`. Raises `UserError`."""
    if isinstance(source, str) and ".py:" in source:
        file, _, function = source.rpartition(":")
        if not function:
            raise UserError("a policy in Python needs the name of its function", got=source, allowed="FILE.py:FUNCTION")
        source = RouterSpec(file=file, function=function)
    if isinstance(source, RouterSpec):
        return _routed(load_function(folder / source.file, source.function), source.actions, tasks)
    if isinstance(source, str | Path) and str(source).endswith(".py"):
        raise UserError(
            "a policy in Python needs the name of its function", got=str(source), allowed="FILE.py:FUNCTION"
        )
    if isinstance(source, str | Path | Mapping):
        policy = load_policy(source, folder=folder)
        unused = policy.unused_scenes(tasks)
        notes = (f"policy {policy.name}: this fleet has no task {', '.join(unused)}",) if unused else ()
        return Routing(name=policy.name, table=policy.table(tasks), notes=notes)
    if not callable(source):
        raise UserError("a policy is a name, a file, a mapping or a function", got=source)
    return _routed(source, ("near", "edge", "cloud"), tasks)


def located(source: PolicySource | None) -> PolicySource | None:
    """The same source; a path relative to the working folder is made absolute, for scenarios have their own."""
    if isinstance(source, Path) or (isinstance(source, str) and source not in builtin_names()):
        file = str(source).rpartition(".py:")[0]
        if (Path(f"{file}.py") if file else Path(source)).exists():
            return str(Path(source).absolute())
    return source


def _routed(function: Any, actions: Sequence[Kind], tasks: Sequence[str]) -> Routing:
    check_policy(function)
    name = getattr(function, "__name__", type(function).__name__)
    allowed = load_policy({"name": name, "layout": LAYOUT_VERSION, "actions": list(actions)})
    return Routing(name=name, table=allowed.table(tasks), router=function)
