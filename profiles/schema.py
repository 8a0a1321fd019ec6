"""The kinds of record, and how a mapping becomes one.

KINDS                     kind -> record class
parse(kind, data, where)  a validated record, or a UserError that names the file and the field
json_schema(kind)         JSON Schema of a kind, for editors
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .accelerator import Accelerator, Energy, Link
from .engine import EngineCoefficients
from .errors import UserError, did_you_mean
from .model import Attention, FeedForward, LatentAttention, MixtureOfExperts, Model, MultiToken, SlidingWindow
from .record import BYTES_PER_VALUE, CONFIDENCES, Confidence, Dtype, Provenance, Record, weakest

__all__ = [
    "BYTES_PER_VALUE", "CONFIDENCES", "KINDS",
    "Accelerator", "Attention", "Confidence", "Dtype", "Energy", "EngineCoefficients", "FeedForward",
    "LatentAttention", "Link", "MixtureOfExperts", "Model", "MultiToken", "Provenance", "Record",
    "SlidingWindow", "json_schema", "parse", "record_class", "weakest",
]  # fmt: skip

KINDS: Mapping[str, type[Record]] = {"accelerator": Accelerator, "model": Model, "engine": EngineCoefficients}

_ALLOWED = {
    "missing": "the field is required",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text (put a bare number in quotes)",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of fields to values",
    "model_attributes_type": "a mapping of fields to values",
}


def record_class(kind: object, where: str = "") -> type[Record]:
    """The record class of a kind. Raises UserError, saying where, for a kind that does not exist."""
    found = KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        what = f"{where}: kind: unknown kind of profile" if where else "unknown kind of profile"
        raise UserError(
            what, got=kind if kind is not None else "nothing", next_step=did_you_mean(str(kind), KINDS)
        )
    return found


def parse(data: Mapping[str, Any], where: str) -> Record:
    """Validate a mapping whose `kind` tells its class; `where` (a file) opens every message.

    Raises UserError for the first problem, and says how many more there are.
    """
    cls = record_class(data.get("kind"), where)
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise _told(error, cls, where) from None


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind, units in its descriptions; a file with `extends` may leave fields out."""
    return record_class(kind).model_json_schema()


def _told(error: ValidationError, cls: type[Record], where: str) -> UserError:
    """Pydantic's first complaint in our words; a misspelt key explains a missing one, so it goes first."""
    problems = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    first, more = problems[0], len(problems) - 1
    key = first["loc"][-1] if first["loc"] else ""
    path = ".".join(str(part) for part in first["loc"] if part != "[key]")
    what = f"{where}: {path}" if path else where
    tail = f"({more} more in this file)" if more else ""
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(str(key), _fields_at(cls, first["loc"][:-1]))
        return UserError(f"{what}: unknown key", next_step=f"{hint} {tail}".rstrip())
    if first["type"] == "value_error":
        return UserError(f"{what}: {first['msg'].removeprefix('Value error, ')}", next_step=tail)
    if first["type"] == "missing":
        return UserError(f"{what}: missing; the field is required", next_step=tail)
    got = first["input"] if first["input"] is not None else "nothing"
    if first["type"] == "literal_error":
        allowed = first["ctx"]["expected"].replace("'", "")
    else:
        allowed = _ALLOWED.get(first["type"], first["msg"].removeprefix("Input should be "))
    return UserError(f"{what}: bad value", got=got, allowed=allowed, next_step=tail)


def _fields_at(cls: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The keys allowed at a path of a record class; a mapping's own keys are free and change nothing."""
    for part in path:
        field = cls.model_fields.get(str(part))
        inner = [one for one in _types(field.annotation) if issubclass(one, BaseModel)] if field else []
        cls = inner[0] if inner else cls
    return list(cls.model_fields)


def _types(annotation: Any) -> list[type]:
    if get_origin(annotation) is None:
        return [annotation] if isinstance(annotation, type) else []
    return [found for argument in get_args(annotation) for found in _types(argument)]
