"""Files of facts: where the built-in ones lie, which a folder holds, how names compare, what a wrong one meets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .errors import UserError, did_you_mean

__all__ = ["DATA", "LIST", "File", "normalise", "unknown", "yaml_files"]

DATA = Path(__file__).parent / "data"
LIST = "`nearfar profiles list` shows what there is"


class File(NamedTuple):
    """One YAML file of facts."""

    path: Path
    where: str
    """How messages call it."""
    builtin: bool


def normalise(name: str) -> str:
    """The form in which names are compared: `NVIDIA_H100  80GB` and `nvidia-h100-80gb` are the same."""
    return re.sub(r"[-_\s]+", "-", name.strip().lower())


def yaml_files(folder: Path | None) -> list[Path]:
    """Every YAML file below a folder, hidden files and folders left out."""
    if folder is None:
        return []
    found = [path for path in folder.rglob("*") if path.suffix in {".yaml", ".yml"} and path.is_file()]
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is none, with the nearest that is one."""
    hint = did_you_mean(normalise(name), known)
    return UserError(f"unknown {what}", got=name, next_step=f"{hint}; {LIST}")
