"""What pydantic complains about, in the project's words: one error that names the place, what was got and allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .errors import UserError, did_you_mean

__all__ = ["told"]

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


def told(error: ValidationError, cls: type[BaseModel], where: str) -> UserError:
    """Pydantic's first complaint about a `cls`; a misspelt key explains a missing one, so it goes first.

    `where` (a file) opens the message.
    """
    problems = sorted(
        error.errors(include_url=False), key=lambda one: (one["type"] != "extra_forbidden", -len(one["loc"]))
    )
    first = problems[0]
    key = first["loc"][-1] if first["loc"] else ""
    path = _path(first["loc"])
    what = f"{where}: {path}" if path else where
    others = [other for other in dict.fromkeys(_path(one["loc"]) for one in problems[1:]) if other != path]
    tail = f"(wrong, too: {', '.join(others[:6])}{' ...' if len(others) > 6 else ''})" if others else ""
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(str(key), _fields_at(cls, first["loc"][:-1]))
        return UserError(f"{what}: unknown key", next_step=f"{hint} {tail}".rstrip())
    if first["type"] == "value_error":
        return UserError(f"{what}: {first['msg'].removeprefix('Value error, ')}", next_step=tail)
    if first["type"] == "missing":
        return UserError(f"{what}: missing; the field is required", next_step=tail)
    got = first["input"] if first["input"] is not None else "nothing"
    if first["type"] in ("literal_error", "union_tag_invalid"):
        ctx = first["ctx"]
        allowed = str(ctx.get("expected") or ctx.get("expected_tags")).replace("'", "")
    else:
        allowed = _ALLOWED.get(first["type"], first["msg"].removeprefix("Input should be "))
    return UserError(f"{what}: bad value", got=got, allowed=allowed, next_step=tail)


def _path(location: Iterable[int | str]) -> str:
    """A place as a user knows it: without the names that pydantic gives to members of a union."""
    parts = (str(part) for part in location)
    return ".".join(part for part in parts if "[" not in part and not part.startswith("constrained-"))


def _fields_at(cls: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The keys allowed at a path of a record class; a mapping's own keys are free and change nothing."""
    candidates = [cls]
    for part in path:
        field = candidates[0].model_fields.get(str(part))
        if field is not None:
            inner = [one for one in _types(field.annotation) if issubclass(one, BaseModel)]
            candidates = inner or candidates
        else:  # the tag of a union, or a key of a mapping
            tagged = [one for one in candidates if _tag(one) == part or one.__name__ == part]
            candidates = tagged or candidates
    return list(candidates[0].model_fields)


def _tag(cls: type[BaseModel]) -> Any:
    kind = cls.model_fields.get("kind")
    values = get_args(kind.annotation) if kind else ()
    return values[0] if values else None


def _types(annotation: Any) -> list[type]:
    if get_origin(annotation) is None:
        return [annotation] if isinstance(annotation, type) else []
    return [found for argument in get_args(annotation) for found in _types(argument)]
