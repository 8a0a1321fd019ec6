"""Reading scenarios: a YAML file or a mapping, `extends`, `path=value` changes, validation.

    loaded = load("scenario.yaml", changes={"pools.cloud.replicas": 4})

A file may say `extends: other.yaml` and give only what differs. Relative paths refer to the folder of the file that was
asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from profiles.complaints import told
from profiles.errors import UserError
from profiles.extending import merged
from profiles.reading import load_mapping, load_value
from sim.controls.specs import PolicyRolloutSpec
from sim.scenario import FleetScenario, PoolScenario

__all__ = ["LoadedScenario", "built_in", "json_schema", "load", "parse_changes", "template", "without_rollouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedScenario:
    """A scenario and the folder that its relative paths refer to."""

    scenario: PoolScenario | FleetScenario
    folder: Path
    where: str


def without_rollouts(loaded: LoadedScenario) -> LoadedScenario:
    """The same scenario under one policy from beginning to end, to hold others against."""
    controls = tuple(one for one in loaded.scenario.controls if not isinstance(one, PolicyRolloutSpec))
    return replace(loaded, scenario=loaded.scenario.model_copy(update={"controls": controls}))


_BUILT_IN = Path(__file__).resolve().parent / "data"


def built_in() -> Path:
    """The scenario that `simulate` runs without arguments."""
    return _BUILT_IN / "default.yaml"


def template() -> str:
    """The commented scenario that `nearfar init` writes."""
    return (_BUILT_IN / "template.yaml").read_text(encoding="utf-8")


def load(
    source: str | Path | Mapping[str, Any] | None = None, *, changes: Mapping[str, Any] | None = None
) -> LoadedScenario:
    """A scenario from a file, from a mapping, or the built-in one; `changes` maps dotted paths to values.

    Raises `UserError` when the file is missing, is not YAML, or does not describe a scenario.
    """
    if isinstance(source, Mapping):
        data, where, folder = _copied(source), "scenario", Path.cwd()
    else:
        path = built_in() if source is None else Path(source)
        if path.is_dir():
            raise UserError("a scenario is a YAML file, this is a folder", got=str(path))
        if not path.exists():
            raise UserError(
                "no such scenario file",
                got=str(path),
                next_step="write one with `nearfar init`, or give none for the built-in",
            )
        where = path.name if source is not None else "built-in scenario"
        data = _extended(path, where, ())
        folder = path.resolve().parent if source is not None else Path.cwd()
    for dotted, value in (changes or {}).items():
        _change(data, dotted, value)
    kind = FleetScenario if "fleet" in data else PoolScenario
    try:
        scenario = kind.model_validate(data)
    except ValidationError as error:
        raise told(error, kind, where) from None
    return LoadedScenario(scenario=scenario, folder=folder, where=where)


def _extended(path: Path, where: str, above: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping of a file on top of the one that it `extends`: mappings merge, all else is replaced."""
    data = load_mapping(path, where)
    if "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str):
        raise UserError(f"{where}: extends: bad value", got=base, allowed="the path of another scenario file")
    below = (path.parent / base).resolve()
    chain = (*above, path.resolve())
    if below in chain:
        raise UserError(f"{where}: extends goes in a circle", got=" -> ".join(one.name for one in (*chain, below)))
    if not below.is_file():
        raise UserError(f"{where}: extends: no such scenario file", got=base)
    return merged(_extended(below, below.name, chain), data)


def parse_changes(settings: list[str]) -> dict[str, Any]:
    """`path=value` texts as a mapping; values are YAML. Raises `UserError` for one without `=`."""
    changes: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise UserError("--set needs path=value", got=setting, next_step="for example --set pools.cloud.replicas=4")
        changes[path.strip()] = load_value(text, f"--set {path.strip()}")
    return changes


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario, for editors."""
    schema: dict[str, Any] = TypeAdapter(PoolScenario | FleetScenario).json_schema()
    _drop_endless_defaults(schema)
    return schema


def _drop_endless_defaults(node: Any) -> None:
    """JSON knows no infinity: a limit that defaults to none has no default in the schema."""
    if isinstance(node, dict):
        if "Infinity" in json.dumps(node.get("default")):
            del node["default"]
        for inner in node.values():
            _drop_endless_defaults(inner)
    elif isinstance(node, list):
        for inner in node:
            _drop_endless_defaults(inner)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value


def _change(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one value; missing mappings on the way are made, and the validation judges the result."""
    *parents, last = dotted.split(".")
    here: Any = data
    for depth, part in enumerate(parents):
        if isinstance(here, list):
            here = _item(here, part, dotted)
            continue
        inner = here.get(part)
        if inner is None:
            inner = here[part] = {}
        if not isinstance(inner, dict | list):
            raise UserError(f"--set {dotted}: {'.'.join(parents[: depth + 1])} is a value, not a mapping", got=inner)
        here = inner
    if isinstance(here, list):
        _item(here, last, dotted)
        here[int(last)] = value
    else:
        here[last] = value


def _item(items: list[Any], index: str, dotted: str) -> Any:
    if not index.isdigit() or int(index) >= len(items):
        raise UserError(f"--set {dotted}: no such item in a list", got=index, allowed=f"0 to {len(items) - 1}")
    return items[int(index)]
