"""`nearfar tune --from-log`: what a decision log says of predictions, of candidates, and of a policy learned from it.

The log is split in two by request. What is learned (corrections, a policy) comes from the first half and is judged on
the second, which it never saw; candidates that were given are judged on the whole log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.learning.corrections import corrected_policy
from policies.learning.decisions import Decisions, read_decisions
from policies.learning.off_policy import MIN_ESS, Estimate, Judged, Sample, chances, judge, sample_of
from policies.learning.reestimate import Reestimates, reestimate
from policies.learning.reward_model import fit_rewards, learned_policy
from policies.learning.utility import Utility
from policies.learning.writing import write_policy
from policies.policy import Policy
from profiles.errors import UserError

__all__ = ["from_log", "from_log_screen"]

LEAST_TO_LEARN = 200
"""Decisions with a reward below which nothing is learned."""

_MOST_CELLS = 8  # on the screen
_MOST_VERSIONS = 3


def from_log(
    path: Path,
    *,
    candidates: Sequence[Policy],
    utility: Utility,
    out: Path | None = None,
    baseline: Policy | None = None,
    level: float = 0.95,
    clip: float | None = None,
    min_ess: float = MIN_ESS,
    learn: bool = True,
) -> dict[str, Any]:
    """Everything as one JSON-able mapping; learned and corrected policies are written to the folder `out`.

    `baseline` is the policy that is deployed: candidates are compared with it, and it is what gets corrected; without
    it they are compared with what the log did, exploring included, and the first candidate is corrected. With several
    comparisons each interval is wider, so that all hold together at `level`. Raises `UserError`.
    """
    _check(level, clip, min_ess)
    log = read_decisions(path)
    sample, unrewarded = sample_of(log, utility)
    if len(sample.log) == 0:
        raise UserError(
            "no decision of the log has every figure that the utility weighs",
            got=str(utility),
            next_step="weigh other terms, or log what is missing (correct, for quality)",
        )
    found = reestimate(log, level=level)
    made = _made(log, sample, baseline or (candidates[0] if candidates else None), learn=learn, level=level)
    comparisons = max(1, len(candidates) + len(made))
    each = 1.0 - (1.0 - level) / comparisons
    halves = sample_of(log.subset(_second(log)), utility)[0] if made else sample
    judged = [judge(sample, one, against=baseline, level=each, clip=clip, min_ess=min_ess) for one in candidates]
    for policy, _ in made:
        judged.append(judge(halves, policy, against=baseline, level=each, clip=clip, min_ess=min_ess))
    return {
        "log": _about(log, unrewarded),
        "utility": str(utility),
        "compared_with": baseline.name if baseline else "the log",
        "logged": _mean_reward(sample),
        "level": level,
        "level_of_each": each,
        "candidates": [_candidate(one) for one in judged],
        "reestimates": _reestimates(found),
        "policies": [_written(policy, told, out) for policy, told in made],
    }


def _check(level: float, clip: float | None, min_ess: float) -> None:
    if not 0.5 <= level < 1.0:
        raise UserError("the level of intervals is out of range", got=level, allowed="0.5 to below 1, as in 0.95")
    if clip is not None and not clip >= 1.0:
        raise UserError("weights can only be clipped to 1 or more", got=clip)
    if not min_ess >= 1.0:
        raise UserError("the least effective sample size is out of range", got=min_ess, allowed=">= 1")


def _second(log: Decisions) -> NDArray[np.bool_]:
    """(n,): the half of the requests that judges what the other half taught."""
    return np.asarray((log.request >> 9) & 1 == 1, np.bool_)


def _made(
    log: Decisions, sample: Sample, deployed: Policy | None, *, learn: bool, level: float
) -> list[tuple[Policy, tuple[str, ...]]]:
    """Policies made from the first half, and what was done to make each."""
    if not learn or len(sample.log) < LEAST_TO_LEARN:
        return []
    first = log.subset(~_second(log))
    made = []
    if deployed is not None:
        corrected, told = corrected_policy(deployed, reestimate(first, level=level), first)
        if corrected is not None and (chances(corrected, first) != chances(deployed, first)).any():
            made.append((corrected, told))
    model = fit_rewards(sample.log, sample.rewards, ~_second(sample.log))
    return [*made, (learned_policy(sample.log, model, name="learned"), ("best predicted utility of the log",))]


# -- as plain data -----------------------------------------------------------------------------------------------------


def _about(log: Decisions, unrewarded: int) -> dict[str, Any]:
    sizes = np.diff(log.start)
    return {
        "decisions_read": log.rows_read,
        "decisions": len(log),
        "dropped": dict(log.dropped),
        "without_reward": unrewarded,
        "policies": dict(log.policies),
        "offered": sorted(log.offered),
        "actions_mean": float(sizes.mean()),
        "propensity": {
            "min": float(log.propensity.min()),
            "mean": float(log.propensity.mean()),
            "certain_share": float((log.propensity >= 1.0).mean()),
        },
    }


def _mean_reward(sample: Sample) -> dict[str, float]:
    return {"mean": float(sample.rewards.mean()), "n": len(sample.rewards)}


def _candidate(one: Judged) -> dict[str, Any]:
    """Infinite bounds become None: JSON has no word for them."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and not np.isfinite(value) else value

    found: dict[str, Any] = plain(asdict(one))
    return found


def _reestimates(found: Reestimates) -> dict[str, Any]:
    quality: dict[str, Any] | None = None
    if found.quality is not None:
        quality = asdict(found.quality) | {"cells": [asdict(cell) for cell in found.quality.cells]}
        quality = {key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in quality.items()}
    return {
        "significant": found.significant,
        "quality": quality,
        "times": [asdict(one) for one in found.times],
    }


def _written(policy: Policy, told: tuple[str, ...], out: Path | None) -> dict[str, Any]:
    data = policy.model_dump(mode="json", exclude_defaults=True) | {"name": policy.name, "layout": policy.layout}
    entry: dict[str, Any] = {"name": policy.name, "changes": list(told), "policy": data}
    if out is not None:
        file = out / f"{policy.name}.yaml"
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}", next_step="give another folder") from None
        write_policy(policy, file)
        entry["file"] = str(file)
    return entry


# -- for people --------------------------------------------------------------------------------------------------------


def from_log_screen(result: dict[str, Any]) -> str:
    """The same for people."""
    log = result["log"]
    policies = _who(log["policies"])
    lines = [
        f"log           {log['decisions']:,} of {log['decisions_read']:,} decisions used; taken by {policies}",
        *(f"  dropped     {count:,}: {reason}" for reason, count in log["dropped"].items()),
    ]
    if log["without_reward"]:
        why = "a figure that the utility weighs is not known, or to keep the rest fair"
        lines.append(f"  left out    {log['without_reward']:,}: {why}")
    chance = log["propensity"]
    lines += [
        f"exploring     {log['actions_mean']:.1f} actions on average, smallest propensity {chance['min']:.3g}, "
        f"{100 * chance['certain_share']:.1f} % of the choices were certain",
        f"utility       {result['utility']}; the log earned {result['logged']['mean']:.4g} a decision",
        "",
        *_candidate_lines(result),
        "",
        f"predictions   held against outcomes, by intervals that all hold together at {100 * result['level']:g} %",
        *_reestimate_lines(result["reestimates"]),
    ]
    for entry in result["policies"]:
        where = f", written to {entry['file']}" if "file" in entry else ""
        lines.append(f"made          {entry['name']}: {'; '.join(entry['changes'])}{where}")
    lines.append(
        "queues        a policy changes the load that it meets; no log tells that: simulate it before it ships"
    )
    return "\n".join(lines)


def _who(policies: dict[str, int]) -> str:
    """Who decided how often; the many versions of one name, as a bandit has them, together."""
    names: dict[str, list[str]] = {}
    for one in policies:
        names.setdefault(one.rpartition(" @ ")[0] or one, []).append(one)
    words = []
    for name, versions in names.items():
        if len(versions) > _MOST_VERSIONS:
            words.append(f"{name}, {len(versions):,} versions ({sum(policies[one] for one in versions):,})")
        else:
            words += [f"{one} ({policies[one]:,})" for one in versions]
    return ", ".join(words)


def _candidate_lines(result: dict[str, Any]) -> list[str]:
    if not result["candidates"]:
        return ["candidates    none were given"]
    width = max(12, *(len(one["name"]) for one in result["candidates"]))
    against = result["compared_with"]
    gain_over = f"gain over {against} ({100 * result['level_of_each']:.1f} % interval)"
    lines = [
        f"{'candidate':{width}}  {'verdict':11}  {gain_over:38}      ESS",
    ]
    for one in result["candidates"]:
        gain = _interval(one["gain"])
        lines.append(f"{one['name']:{width}}  {one['verdict']:11}  {gain:38}  {one['ess']:7,.0f}")
        lines.append(f"{'':{width}}  because {one['reason']}")
        estimates = ", ".join(f"{name.upper()} {_interval(one[name])}" for name in ("dr", "snips", "ips"))
        lines.append(f"{'':{width}}  {estimates}, DM {one['dm']:.4g}")
    return lines


def _interval(estimate: dict[str, float | None]) -> str:
    value, low, high = (estimate[key] for key in Estimate.__slots__)
    if value is None or low is None or high is None:
        return "unknown"
    return f"{value:.4g} ({low:.4g} to {high:.4g})"


def _reestimate_lines(found: dict[str, Any]) -> list[str]:
    return [*_quality_lines(found["quality"]), *(_factor_line(one) for one in found["times"])]


def _quality_lines(quality: dict[str, Any] | None) -> list[str]:
    if quality is None:
        return ["quality       too few answers are known to be right or wrong"]
    lines = [
        f"quality       right - predicted {100 * quality['shift']:+.1f} points ({100 * quality['shift_low']:+.1f} to "
        f"{100 * quality['shift_high']:+.1f}), n {quality['n']:,}: {_word(quality['shifted'])}"
    ]
    if quality["low"] is None:
        lines.append(f"{'':13} predictions hardly vary where the task and the kind of action are the same")
    else:
        lines.append(
            f"{'':13} right answers rise {quality['slope']:.3g} ({quality['low']:.3g} to {quality['high']:.3g}) "
            f"times as fast as predicted: {_word(quality['significant'])}"
        )
    off = sorted((cell for cell in quality["cells"] if cell["significant"]), key=lambda cell: -cell["n"])
    lines += [
        f"  {cell['task']} {cell['kind']}: {100 * cell['observed']:.1f} % right, {100 * cell['predicted']:.1f} % "
        f"predicted, {100 * cell['expected']:.1f} % if it were off as all are, n {cell['n']:,}: off"
        for cell in off[:_MOST_CELLS]
    ]
    if len(off) > _MOST_CELLS:
        lines.append(f"  and {len(off) - _MOST_CELLS} more tasks and kinds that are off")
    return lines


def _factor_line(one: dict[str, Any]) -> str:
    left_out = f", {one['left_out']:,} without an answer left out" if one["left_out"] else ""
    return (
        f"{one['name']:13} {one['kind']}: {one['factor']:.3g} ({one['low']:.3g} to {one['high']:.3g}) of the "
        f"prediction, median {one['median']:.3g}, spread {one['spread']:.2g}, n {one['n']:,}{left_out}: "
        f"{'off' if one['significant'] else 'as predicted'}"
    )


def _word(off: bool) -> str:
    return "off" if off else "calibrated, as far as one can tell"
