"""What the conformance suite found out about a policy, as numbers and texts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from policies.layout import LAYOUT_VERSION
from profiles.errors import UserError

__all__ = ["Check", "Report", "report_screen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One property: whether it holds, in how many of how many situations it does not, and the first of them."""

    name: str
    passed: bool
    detail: str
    counts: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a policy does and does not do. Without a readable policy `reads` is the only check."""

    policy: str
    form: Literal["weights", "function", "unreadable"]
    checks: tuple[Check, ...]
    remarks: tuple[str, ...] = ()
    error: UserError | None = None
    """Why it could not be read."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    def to_json(self) -> dict[str, Any]:
        """Numbers and texts only."""
        checks = [
            {"name": one.name, "passed": one.passed, "detail": one.detail, "counts": dict(one.counts)}
            for one in self.checks
        ]
        return {
            "policy": self.policy,
            "form": self.form,
            "layout": LAYOUT_VERSION,
            "passed": self.passed,
            "checks": checks,
            "remarks": list(self.remarks),
        }


def report_screen(report: Report) -> str:
    """The report for people."""
    lines = [f"{report.policy}: {report.form}, layout {LAYOUT_VERSION}", ""]
    lines += [f"{one.name:<15}{'ok    ' if one.passed else 'FAILED'}  {one.detail}" for one in report.checks]
    if report.remarks:
        lines += ["", *(f"remark: {remark}" for remark in report.remarks)]
    verdict = f"FAILED: {', '.join(report.failed)}" if report.failed else f"passed: {len(report.checks)} checks"
    return "\n".join([*lines, "", verdict])
