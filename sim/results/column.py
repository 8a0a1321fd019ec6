"""One column of a table of results, or one key of the summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

__all__ = ["Column", "columns_markdown"]

Kind = Literal["int32", "int64", "float", "double", "flag", "category", "name", "text", "object", "list"]


class Column(NamedTuple):
    """`unit` is empty for counts, shares and words."""

    name: str
    unit: str
    type: Kind
    description: str


def columns_markdown(columns: Iterable[Column]) -> str:
    """A table of all columns."""
    rows = "\n".join(f"| `{c.name}` | {c.unit} | {c.type} | {c.description} |" for c in columns)
    return f"| name | unit | type | meaning |\n|---|---|---|---|\n{rows}"
