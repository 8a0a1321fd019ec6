"""The one error a user sees for bad input.

    UserError                 what is wrong, what was got, what is allowed, what to do next

Every command turns a `UserError` into one line on stderr and exit code 2. Library users write::

    try:
        nearfar.simulate("scenario.yaml")
    except nearfar.UserError as error:
        print(error)
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["UserError", "did_you_mean"]


class UserError(ValueError):
    """Bad input, told in one message: what, got, allowed, next step.

    `what` says what is wrong and where; the other parts are optional and appended in a fixed order, so that
    every message of the project reads alike.
    """

    def __init__(self, what: str, *, got: object = None, allowed: str = "", next_step: str = "") -> None:
        parts = [" ".join(what.split("\n"))]
        if got is not None:
            parts.append(f"got {shorten(got)}")
        if allowed:
            parts.append(f"allowed: {allowed}")
        if next_step:
            parts.append(next_step)
        super().__init__("; ".join(parts))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or lists the known ones when none is close."""
    choices = sorted(known)
    close = get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(choices)}" if len(choices) <= 40 else f"{len(choices)} are known"


def shorten(value: object, limit: int = 80) -> str:
    """`repr` of a value, cut in the middle so that a huge cell cannot flood the terminal."""
    text = repr(value)
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}...{text[-limit // 4 :]} ({len(text)} characters)"
