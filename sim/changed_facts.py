"""Some facts of a model, an accelerator and an engine changed for one question, by paths such as `engine.layer_us`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from profiles import Accelerator, EngineCoefficients, Model, Record, UserError, parse

__all__ = ["CHANGED", "changed"]

CHANGED = "changed by the caller"
"""The source of a changed fact."""


def changed(
    records: tuple[Model, Accelerator, EngineCoefficients], changes: Mapping[str, Any]
) -> tuple[Model, Accelerator, EngineCoefficients]:
    """The records with some facts changed, validated again; what was changed is assumed."""
    by_kind: dict[str, dict[str, Any]] = {record.kind: record.model_dump(mode="json") for record in records}
    for path, value in changes.items():
        kind, *inner, last = path.split(".") if "." in path else (path, "")
        if kind not in by_kind or not last:
            raise UserError(
                "no such fact to change", got=path, allowed="accelerator.FIELD, model.FIELD or engine.FIELD"
            )
        here: Any = by_kind[kind]
        for part in inner:
            here = here.get(part) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            raise UserError("no such fact to change", got=path, next_step=f"see: nearfar profiles schema {kind}")
        here[last] = value
        field = ".".join((*inner, last))
        if field in by_kind[kind]["provenance"] or field.split(".")[0] in type(_of(records, kind)).model_fields:
            by_kind[kind]["provenance"][field] = {"source": CHANGED, "confidence": "assumed"}
    model, accelerator, engine = (
        parse(by_kind[record.kind], f"{record.kind} {record.name}") if record.kind in _kinds(changes) else record
        for record in records
    )
    assert isinstance(model, Model)
    assert isinstance(accelerator, Accelerator)
    assert isinstance(engine, EngineCoefficients)
    return model, accelerator, engine


def _kinds(changes: Mapping[str, Any]) -> set[str]:
    return {path.split(".")[0] for path in changes}


def _of(records: tuple[Record, ...], kind: str) -> Record:
    return next(record for record in records if record.kind == kind)
