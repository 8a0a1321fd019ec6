"""What commands print: one JSON object on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from profiles.errors import UserError

__all__ = ["print_json", "progress", "refuse", "tell"]


def print_json(value: dict[str, Any]) -> None:
    """The answer of a command, on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False))


def tell(text: str) -> None:
    """A line for people, on stderr."""
    print(f"nearfar: {text}", file=sys.stderr)


def refuse(*given: tuple[str, object], beside: str) -> None:
    """Raise `UserError` for options that mean nothing beside another one."""
    for name, value in given:
        if value:
            raise UserError(f"{name} means nothing with {beside}", got=str(value), next_step="leave one of them out")


def progress(what: str) -> Callable[[int, int], None]:
    """Progress on stderr: rewritten in place on a terminal, a line every ten seconds elsewhere."""
    terminal = sys.stderr.isatty()
    began = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - began < 1.0 or now - last < (0.2 if terminal else 10.0):
            return
        last = now
        end = "\r" if terminal and done != total else "\n"
        count = f"{done:,} of {total:,} {what}" if total else f"{done:,} rows read"
        print(f"nearfar: {count}, {now - began:.0f} s", end=end, file=sys.stderr, flush=True)

    return show
