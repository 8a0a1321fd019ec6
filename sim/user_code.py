"""Functions that a scenario names in the user's own files: policies and controls."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from profiles.errors import UserError, did_you_mean

__all__ = ["load_function"]


def load_function(file: Path, function: str) -> Callable[..., Any]:
    """Import a file under a name of its own and return one of its functions.

    Raises `UserError` when the file is missing, does not import, or has no such function.
    """
    if not file.is_file():
        raise UserError("no such Python file", got=str(file))
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    name = f"nearfar_user_{file.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError("not a Python file", got=str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything at import; the error names it
        raise UserError(f"{file.name} does not import: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        known = [name for name in vars(module) if callable(getattr(module, name)) and not name.startswith("_")]
        raise UserError(
            f"no function of this name in {file.name}", got=function, next_step=did_you_mean(function, known)
        )
    return found  # type: ignore[no-any-return]
