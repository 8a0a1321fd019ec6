"""`extends`: one record written as a change of another, with the trust of every field kept straight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .record import Record

__all__ = ["extend", "merged"]

_PLACE = frozenset({"runtime", "accelerators", "precisions"})  # of an engine record: what it is for, no fact
_OF_ITSELF = frozenset({"fit"})  # how well a record's own figures do


def extend(base: Mapping[str, Any], change: Mapping[str, Any], *, same_name: bool) -> dict[str, Any]:
    """A record's raw mapping on top of the one that it extends.

    Mappings merge key by key; lists and scalars are replaced. Aliases come along only when a record shadows
    its own namesake; notes, and how well a fit did, never do. A field that is not given again keeps the source
    and the confidence that it had below: a fitted record on an assumed one does not make the inherited figures
    fitted.
    """
    below = {key: value for key, value in _facts(base).items() if key not in _OF_ITSELF}
    facts = merged(below, _facts(change))
    described = {"kind": base.get("kind"), "source": base.get("source"), "confidence": base.get("confidence")}
    if same_name and "aliases" in base:
        described["aliases"] = base["aliases"]
    described |= {key: value for key, value in change.items() if key in Record.IDENTITY}
    inherited = _inherited(base, below, _facts(change), "")
    own = change.get("provenance")
    described["provenance"] = {**inherited, **own} if isinstance(own, Mapping) else own or inherited
    return {key: value for key, value in described.items() if value is not None} | facts


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in Record.IDENTITY}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping on top of another: mappings merge key by key, lists and scalars are replaced."""
    result = dict(base)
    for key, value in change.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _inherited(
    base: Mapping[str, Any], facts: Mapping[str, Any], change: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    """Provenance of the facts that `change` leaves as they are below `prefix`."""
    below = base.get("provenance")
    known: Mapping[str, Any] = below if isinstance(below, Mapping) else {}
    kept: dict[str, Any] = {}
    for key, value in facts.items():
        path = f"{prefix}{key}"
        if key not in change:
            if path.split(".")[0] not in _PLACE:
                kept[path] = _entry_for(path, known, base)
                kept |= {name: entry for name, entry in known.items() if name.startswith(f"{path}.")}
        elif isinstance(value, Mapping) and isinstance(change[key], Mapping):
            kept |= _inherited(base, value, change[key], f"{path}.")
    return kept


def _entry_for(path: str, known: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        if (name := ".".join(parts[:n])) in known:
            return known[name]
    return {"source": base.get("source"), "confidence": base.get("confidence")}
