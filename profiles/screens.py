"""Records for people: a list of all, one in full."""

from __future__ import annotations

from typing import Any

import yaml

from .catalogue import Catalogue
from .record import Record
from .schema import KINDS, record_class

__all__ = ["list_records", "list_screen", "record_dict", "record_screen"]


def list_records(catalogue: Catalogue, kind: str | None = None) -> list[dict[str, Any]]:
    """Kind, name, confidence, origin and source of every record. Raises `UserError` for an unknown kind."""
    if kind is not None:
        record_class(kind)
    return [
        {
            "kind": record.kind,
            "name": record.name,
            "confidence": record.confidence,
            "origin": catalogue.origin(record),
            "source": record.source,
        }
        for one in KINDS
        if kind in (None, one)
        for record in catalogue.records(one)
    ]


def list_screen(rows: list[dict[str, Any]]) -> str:
    """One line a record."""
    width = max([17, *(len(row["name"]) for row in rows)]) + 1
    lines = [
        f"{row['kind']:<12} {row['name']:<{width}} {row['confidence']:<13} {' '.join(row['source'].split())[:60]}"
        for row in rows
    ]
    return "\n".join([f"{'kind':<12} {'name':<{width}} {'confidence':<13} source", *lines])


def record_dict(catalogue: Catalogue, record: Record) -> dict[str, Any]:
    """All fields of a record, plain; `origin` says which file it comes from."""
    fields = record.model_dump(mode="json", exclude_none=True)
    return {**fields, "origin": catalogue.origin(record), "assumed_fields": list(record.assumed_fields())}


def record_screen(catalogue: Catalogue, record: Record) -> str:
    """A record as YAML."""
    text: str = yaml.safe_dump(record_dict(catalogue, record), sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip()
