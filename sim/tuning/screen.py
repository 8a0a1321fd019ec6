"""What people read after a tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["tune_screen"]

_OTHERS = {
    "greedy": "the utility itself, without a search",
    "start": "what the search began with",
    "system_clairvoyant": "knows the system",
    "clairvoyant": "knows the outcomes",
}
_MOST_GROUPS = 4


def tune_screen(result: Mapping[str, Any]) -> str:
    """Utilities, the gain over the best rule, who gains and who loses."""
    lines = [f"{result['policy']}   tuned for {result['tuning']['utility']}", ""]
    lines += _table(result)
    lines += ["", f"gain over {result['best_rule']}: {_interval(result['gain'])}"]
    if result["gap_recovered"] is not None:
        share = result["gap_recovered_interval"]
        between = "" if share["low"] is None else f" ({share['low']:.0%} to {share['high']:.0%})"
        lines.append(f"of the gap to who knows the system: {result['gap_recovered']:.0%}{between}")
    if len(result["scenarios"]) > 1:
        lines += ["", "by scenario"]
        lines += [
            f"  {name:<16} {_interval(one['gain'])} over {one['best_rule']}"
            for name, one in result["scenarios"].items()
        ]
    for scenario, groups in result["who_gains"].items():
        lines += ["", f"who gains and who loses in {scenario}, in utility per request of theirs"]
        lines += [line for what in ("device", "task") for line in _groups(what, groups[what])]
    lines += ["", f"{result['runs']:,} runs; requests where their privacy forbids: {result['privacy_violations']}"]
    lines.append("assumed: " + "; ".join(result["assumed"][:3]))
    return "\n".join(lines)


def _table(result: Mapping[str, Any]) -> list[str]:
    utility = result["utility"]
    rows = [("learned", utility["learned"], "")]
    rows += sorted(((name, value, "rule") for name, value in utility["rules"].items()), key=lambda row: -row[1])
    rows += [(name, utility[name], told) for name, told in _OTHERS.items() if name in utility]
    return [f"  {name:<20} {value:>9.4f}  {told}".rstrip() for name, value, told in rows]


def _groups(what: str, groups: Mapping[str, Any]) -> list[str]:
    ranked = sorted(groups.items(), key=lambda item: -item[1]["gain"]["value"])
    shown = ranked if len(ranked) <= 2 * _MOST_GROUPS else ranked[:_MOST_GROUPS] + ranked[-_MOST_GROUPS:]
    return [f"  {what:<7} {name:<22} {_interval(one['gain'])}" for name, one in shown]


def _interval(gain: Mapping[str, float | None]) -> str:
    value, low, high = gain["value"], gain["low"], gain["high"]
    assert value is not None
    if low is None or high is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"
