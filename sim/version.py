"""The version of the distribution, as installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]

try:
    VERSION = version("nearfar")
except PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0+unknown"
