"""Several seeds, one figure: means and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sim.results.columns import VOLATILE
from sim.results.verdict import VERDICTS

__all__ = ["interval", "summarise_seeds"]

# Two-sided 95 % quantiles of Student's t by degrees of freedom; interpolated in 1 / df beyond 30.
_T95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_T95_NORMAL = 1.95996

_WORDS = ("deployment", "confidence", "workload", "workload_sha256", "policy")  # the same for every seed
_LISTS = ("assumed", "notes", "broken_invariants")  # the union
_LEFT_OUT = ("replicas", "seed", "slo", "verdict", "verdict_reason", "binding_constraint", *VOLATILE)


def interval(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and 95 % confidence interval {mean, low, high} of independent values; None among them is left out.

    With one value the interval is unknown (low and high are None), without any the mean is too.
    """
    known = [float(value) for value in values if value is not None]
    n = len(known)
    if n == 0:
        return {"mean": None, "low": None, "high": None}
    mean = math.fsum(known) / n
    if n == 1:
        return {"mean": mean, "low": None, "high": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half = student_t95(n - 1) * deviation / math.sqrt(n)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def student_t95(degrees: int) -> float:
    """What a Student variable with `degrees` >= 1 degrees of freedom exceeds in size 5 % of the time."""
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    share = len(_T95) / degrees
    return _T95_NORMAL + share * (_T95[-1] - _T95_NORMAL)


def summarise_seeds(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One summary of the same scenario under several seeds, with the same keys (except `replicas`).

    Numbers become `interval`s; the verdict is the worst, with its reason and constraint; `verdicts` counts.
    """
    if not summaries:
        raise ValueError("summarise_seeds needs at least one summary")
    first = summaries[0]
    worst = max(summaries, key=lambda summary: VERDICTS.index(summary["verdict"]))
    merged: dict[str, Any] = {
        "seeds": [summary["seed"] for summary in summaries],
        "verdict": worst["verdict"],
        "verdicts": {name: sum(s["verdict"] == name for s in summaries) for name in VERDICTS},
        "verdict_reason": worst["verdict_reason"],
        "binding_constraint": worst["binding_constraint"],
        "slo": first["slo"],
    }
    for key, value in first.items():
        if key in _WORDS:
            merged[key] = value
        elif key in _LISTS:
            merged[key] = list(dict.fromkeys(word for summary in summaries for word in summary[key]))
        elif key not in _LEFT_OUT:
            merged[key] = _merge([summary[key] for summary in summaries])
    if len(summaries) > 1 and all(_same(summaries[0], other) for other in summaries[1:]):
        merged["notes"] = [*merged["notes"], "nothing in this run depends on the seed: intervals say nothing"]
    return merged


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs gave the same figures."""
    apart = {"seed", *VOLATILE}
    return all(one[key] == other[key] for key in one if key not in apart)


def _merge(values: list[Any]) -> Any:
    if any(isinstance(value, str) for value in values):
        verdicts = [value for value in values if value in VERDICTS]
        return max(verdicts, key=VERDICTS.index) if verdicts else next(value for value in values if value is not None)
    groups = [value for value in values if isinstance(value, Mapping)]
    if not groups:
        return interval(values)
    names = dict.fromkeys(name for group in groups for name in group)
    absent = 0 if all(isinstance(v, int) for group in groups for v in group.values()) else None  # counts by reason
    return {name: _merge([group.get(name, absent) for group in groups]) for name in names}
