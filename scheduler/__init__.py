"""The live side: the routing daemon comes to live in this package. What it needs is the extra `nearfar[live]`."""

from __future__ import annotations

from importlib.util import find_spec

from profiles.errors import UserError

__all__ = ["require_live"]


def require_live(*modules: str) -> None:
    """Raise `UserError` with the install command unless all modules of the extra `live` are there."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(
            f"this needs {', '.join(missing)}, which plain nearfar does not install",
            next_step="run: pip install 'nearfar[live]'",
        )
