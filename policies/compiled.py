"""The `kernel` decorator: Numba compilation with a cache that notices every change.

Numba's own cache looks only at the file of the function it compiles; a callee changed in another file goes unseen. So
the cache lives in a folder whose name is a hash of all kernel sources and of the versions that shape the machine code.
Kernels that call nobody else's may have a folder of their own (`compiler`), so that a change to them leaves the others.
It is under the user's cache folder (or `NEARFAR_CACHE_DIR`), never inside the package, which may be read-only.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import config

__all__ = ["cache_folder", "compiler", "is_cached", "kernel", "mark_complete"]

njit: Any = numba.njit  # its stubs leave out some options

Function = TypeVar("Function", bound=Callable[..., object])

_ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = ("policies", "sim/kernels")  # where kernels are written


def _sources(folders: tuple[str, ...] = _FOLDERS) -> list[Path]:
    return [path for folder in folders for path in sorted((_ROOT / folder).glob("*.py"))]


def _sources_digest(folders: tuple[str, ...]) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__} {sys.version_info[:3]}".encode())
    for path in _sources(folders):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _user_cache() -> Path:
    if named := os.environ.get("NEARFAR_CACHE_DIR"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nearfar"


def _choose_folder(name: str, folders: tuple[str, ...]) -> Path:
    folder = _user_cache() / f"{name}-{_sources_digest(folders)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # an unwritable home: compile into a temporary folder, once per boot
    return _temporary_folder(folder.name)


def _temporary_folder(name: str) -> Path:
    """A folder that only this user can write: machine code is loaded from it."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = Path(tempfile.gettempdir()) / f"nearfar-{user}"
    base.mkdir(exist_ok=True, mode=0o700)
    facts = base.lstat()
    if hasattr(os, "getuid") and (facts.st_uid != user or facts.st_mode & 0o022 or base.is_symlink()):
        base = Path(tempfile.mkdtemp(prefix="nearfar-"))
    folder = base / name
    folder.mkdir(exist_ok=True)
    return folder


cache_folder: Path = _choose_folder("kernels", _FOLDERS)


def _marker() -> Path:
    """Numba tells sources by path and time, so that another copy of the same sources compiles anew."""
    stamps = "".join(f"{path} {path.stat().st_mtime_ns}\n" for path in _sources())
    return cache_folder / f"complete-{hashlib.sha256(stamps.encode()).hexdigest()[:16]}"


def is_cached() -> bool:
    """Whether an earlier run left compiled kernels, so that no compilation lies ahead."""
    return _marker().exists()


def mark_complete() -> None:
    """Say that every kernel a run needs is in the cache now."""
    _marker().touch()


def _compiled(function: Function, folder: Path) -> Function:
    """The setting of Numba's cache folder is put back afterwards: a notebook's own functions keep their own cache."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        compiled: Any = njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
    return compiled  # type: ignore[no-any-return]


def kernel(function: Function) -> Function:
    """Compile `function` at its first call, into `cache_folder`. It runs without Python's lock."""
    return _compiled(function, cache_folder)


def compiler(source_folder: str) -> Callable[[Function], Function]:
    """A decorator like `kernel` for a folder (relative to the root) whose kernels call only each other."""
    folder = _choose_folder(source_folder.replace("/", "-"), (source_folder,))

    def decorate(function: Function) -> Function:
        return _compiled(function, folder)

    return decorate
