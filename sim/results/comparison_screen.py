"""`nearfar compare` for people: a column a variant, the difference to the first where it is not by chance."""

from __future__ import annotations

from typing import Any

from sim.compare import FLEET_METRICS, METRICS
from sim.results.verdict import VERDICTS

__all__ = ["comparison_screen"]


def comparison_screen(result: dict[str, Any]) -> str:
    """One table. `*` marks a difference to the first variant whose 95 % interval leaves out zero."""
    variants = result["variants"]
    heads = [", ".join(f"{path.split('.')[-1]}={value}" for path, value in one["set"].items()) for one in variants]
    width = max(22, *(len(head) + 2 for head in heads))
    lines = [
        f"{result['scenario']}: {len(variants)} variants, seeds {result['seeds'][0]} to {result['seeds'][-1]}",
        "",
        f"{'':<26}" + "".join(f"{head:>{width}}" for head in heads),
        f"{'verdict':<26}" + "".join(f"{_verdicts(one['verdicts']):>{width}}" for one in variants),
    ]
    for metric in (*METRICS, *(name for name in FLEET_METRICS if name in variants[0])):
        lines.append(f"{metric:<26}" + "".join(f"{_cell(one, metric):>{width}}" for one in variants))
    lines += ["", "mean ± half of the 95 % interval over the seeds; * differs from the first column (paired, 95 %)"]
    return "\n".join(lines)


def _verdicts(verdicts: list[str]) -> str:
    """The worst first, with its number when the seeds disagree."""
    counts = [(name, verdicts.count(name)) for name in reversed(VERDICTS) if name in verdicts]
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{number} {name}" for name, number in counts)


def _cell(variant: dict[str, Any], metric: str) -> str:
    value = variant[metric]
    if value is None:
        return "-"
    difference = variant.get("difference", {}).get(metric)
    certain = difference is not None and ((difference["low"] or 0.0) > 0.0 or (difference["high"] or 0.0) < 0.0)
    mark = "*" if certain else " "
    half = "" if value["low"] is None else f" ± {(value['high'] - value['low']) / 2:.2g}"
    return f"{value['mean']:.4g}{half}{mark}"
