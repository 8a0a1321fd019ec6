"""Names in a scenario looked up in the catalogue, with the place in the scenario in every complaint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from profiles.errors import UserError, did_you_mean

__all__ = ["check_known", "found"]

_R = TypeVar("_R")


def found(where: str, fetch: Callable[[str], _R], name: str) -> _R:
    """What `fetch` (a method of the catalogue) finds by a name. Raises `UserError` that begins with `where`."""
    try:
        return fetch(name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def check_known(where: str, what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` for the first of some names that is not known."""
    choices = list(known)
    for name in names:
        if name not in choices:
            raise UserError(f"{where}: no such {what}", got=name, next_step=did_you_mean(name, choices))
