"""`nearfar check-policy`: the conformance suite on a built-in, a file of weights, or a function in a user's file."""

from __future__ import annotations

from pathlib import Path

from policies.learning.conformance import conformance
from policies.learning.report import Report
from profiles.errors import UserError
from sim.user_code import load_function

__all__ = ["check_policy_source"]


def check_policy_source(source: str, *, folder: Path | None = None) -> Report:
    """The report on a policy; `source` is what `--policy` takes, relative to `folder`.

    Raises `UserError` when there is nothing to try out: no such file, not a policy of this layout, no such function.
    """
    folder = folder or Path()
    file, _, function = source.rpartition(":")
    if file.endswith(".py") and function:
        return conformance(load_function(folder / file, function))
    if source.rstrip(":").endswith(".py"):
        raise UserError("a policy in Python needs the name of its function", got=source, allowed="FILE.py:FUNCTION")
    report = conformance(source, folder=folder)
    if report.error is not None:
        raise report.error
    return report
