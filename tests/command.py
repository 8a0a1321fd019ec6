"""The command line, run in the test's own process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

import cli

Run = Callable[..., tuple[int, str, str]]


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run `nearfar WORDS`; what it prints is left to the caller to capture."""
    monkeypatch.setattr(sys, "argv", ["nearfar", *words])
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
