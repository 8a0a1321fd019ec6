"""`nearfar check-policy`: the conformance suite on a built-in, a file of weights, or a function in a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.check import RoutingPolicy
from policies.checking.conformance import conformance
from policies.checking.report import Report
from profiles.errors import UserError
from sim.user_code import load_function

__all__ = ["check_policy"]


def check_policy(policy: str | Path | Mapping[str, Any] | RoutingPolicy, *, folder: Path | None = None) -> Report:
    """Try a routing policy out in thousands of made-up situations, before anything depends on it.

    `policy` is a built-in's name, `FILE.yaml` or `FILE.py:FUNCTION` (relative to `folder`, or else to the working
    folder), a mapping, or a function of (request, device, actions). The report says which of the suite's checks
    `passed`, the first situation in which one did not, and what is odd (`remarks`).

    Raises `UserError` when there is nothing to try out: no such file, not a policy of this layout, no such function.
    """
    folder = folder or Path()
    named = str(policy) if isinstance(policy, str | Path) else ""
    file, _, function = named.rpartition(":")
    if file.endswith(".py") and function:
        return conformance(load_function(folder / file, function))
    if named.rstrip(":").endswith(".py"):
        raise UserError("a policy in Python needs the name of its function", got=named, allowed="FILE.py:FUNCTION")
    report = conformance(policy, folder=folder)
    if report.error is not None:
        raise report.error
    return report
