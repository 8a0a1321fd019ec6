"""Tables of the report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

__all__ = ["html_table"]


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, style: Literal["", "words", "dense"] = "") -> str:
    """A table of texts, escaped here."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = f' class="{style}"' if style else ""
    return f"<table{kind}>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
