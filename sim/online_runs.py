"""Runs whose decisions are logged, or made by a bandit: what `nearfar simulate --decisions` and `--bandit` do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.layout import KINDS
from policies.learning.bandit import Bandit, BanditSettings, predicted_utility
from policies.learning.decision_log import DecisionWriter
from policies.learning.exploring import check_share
from policies.learning.utility import Utility, parse_utility
from policies.learning.writing import write_policy
from policies.policy import load_policy
from profiles.errors import UserError
from sim.online import BanditDecisions, LogDecisions, Watcher, watched
from sim.results.outcome import Outcome
from sim.run import Prepared, Progress, run

__all__ = ["DEFAULT_UTILITY", "Online", "bandit_screen", "last_third", "online_of", "run_online", "write_bandit"]

DEFAULT_UTILITY = "quality=1,e2e_s=-0.02,cost_usd=-10"
DEFAULT_EXPLORE = 0.1  # of a bandit, which learns nothing without
_PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """What is wanted of a run."""

    decisions: Path | None
    explore: float
    bandit: BanditSettings | None
    utility: Utility


def online_of(
    *,
    decisions: str | Path | None,
    explore: float | None,
    bandit: bool | BanditSettings,
    utility: str | None,
    seeds: int,
) -> Online | None:
    """None for a run like any other. Raises `UserError` for options that contradict each other."""
    if decisions is None and not bandit:
        for name, value in (("explore", explore), ("utility", utility)):
            if value is not None:
                raise UserError(f"{name} goes with decisions or bandit", got=value)
        return None
    if seeds != 1:
        raise UserError("decisions are logged, and a bandit learns, in one run", got=f"seeds={seeds}")
    share = check_share("explore", explore if explore is not None else DEFAULT_EXPLORE if bandit else 0.0)
    if not bandit and share == 0.0:
        print("nearfar: note: without explore a log can only say what this policy did", file=sys.stderr)
    settings = None
    if bandit:
        settings = bandit if isinstance(bandit, BanditSettings) else BanditSettings(explore=share)
    return Online(
        decisions=None if decisions is None else Path(decisions),
        explore=share,
        bandit=settings,
        utility=parse_utility(DEFAULT_UTILITY if utility is None else utility),
    )


def run_online(
    prepare: Callable[[], Prepared], online: Online, *, progress: Progress | None = None
) -> tuple[Outcome, dict[str, Any] | None]:
    """A run with its decisions logged; with a bandit also what it learned, beside the policy that it started from.

    `prepare` is called once a run: a bandit is compared with its starting policy over the same requests.
    """
    if online.decisions is None:
        return _run(prepare, online, None, progress)
    with DecisionWriter(online.decisions) as writer:
        return _run(prepare, online, writer, progress)


def _run(
    prepare: Callable[[], Prepared], online: Online, writer: DecisionWriter | None, progress: Progress | None
) -> tuple[Outcome, dict[str, Any] | None]:
    if online.bandit is None:
        return _finished(prepare, LogDecisions(writer, share=online.explore), progress), None
    settings = online.bandit
    prior = predicted_utility(online.utility)
    learner = BanditDecisions(
        lambda tasks, seed: Bandit(tasks, settings=settings, prior=prior, seed=seed), online.utility, writer=writer
    )
    outcome = _finished(prepare, learner, progress)
    start = LogDecisions(None, utility=online.utility)
    _finished(prepare, start, progress)
    return outcome, _told(outcome, learner, start.rewards, online.utility)


def _finished(prepare: Callable[[], Prepared], watcher: Watcher, progress: Progress | None) -> Outcome:
    outcome = run(watched(prepare(), watcher), progress=progress)
    watcher.look(outcome.plane)
    return outcome


# -- what came of it ---------------------------------------------------------------------------------------------------


def _told(outcome: Outcome, learner: BanditDecisions, start: Mapping[int, float], utility: Utility) -> dict[str, Any]:
    """Utilities over the requests that both runs decided, in order of their ids."""
    ids = sorted(learner.rewards.keys() & start.keys())
    mine, other = (np.array([rewards[r] for r in ids]) for rewards in (learner.rewards, start))
    explored = np.array([learner.explored[r] for r in ids])
    bandit = learner.bandit
    parts = [part for part in np.array_split(np.arange(len(ids)), _PARTS) if len(part)]
    gained = np.cumsum(mine - other)
    return {
        "utility": str(utility),
        "start": learner.name,
        "settings": asdict(bandit.settings),
        "requests": len(ids),
        "undecided": len(outcome.plane.requests) - len(ids),
        "decisions": bandit.decisions,
        "deviations": bandit.deviations,
        "rewards": bandit.rewards,
        "mean": _average(mine),
        "start_mean": _average(other),
        "last_third": {"mean": _average(last_third(mine)), "start_mean": _average(last_third(other))},
        "tenths": [
            {
                "requests": len(part),
                "mean": _average(mine[part]),
                "start_mean": _average(other[part]),
                "gained": float(gained[part[-1]]),
                "explored_share": float(explored[part].mean()),
            }
            for part in parts
        ],
        "policy": bandit.policy(name="bandit", actions=_kinds(learner)).model_dump(mode="json", exclude_defaults=True),
        "state": bandit.state(),
    }


def _kinds(learner: BanditDecisions) -> list[str]:
    return [kind for kind in KINDS if kind in learner.offered]


def last_third(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of n values the last n / 3, rounded up."""
    return values[len(values) - -(-len(values) // 3) :]


def _average(values: Any) -> float | None:
    return float(values.mean()) if len(values) else None


def write_bandit(told: dict[str, Any], folder: Path) -> None:
    """bandit.json, its state, and bandit.yaml, its favourites as a policy. Raises `UserError`."""
    try:
        (folder / "bandit.json").write_text(json.dumps(told["state"]) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}", next_step="give another folder") from None
    write_policy(load_policy(told["policy"]), folder / "bandit.yaml")


def bandit_screen(told: dict[str, Any]) -> str:
    """For people: utility by tenth of the run."""
    share = told["deviations"] / max(1, told["decisions"])
    bound = told["settings"]["explore"]
    lines = [
        f"bandit        {told['settings']['method']}, {told['rewards']:,} rewards; {100 * share:.1f} % of its "
        f"{told['decisions']:,} decisions deviated from its favourite, at most {100 * bound:g} % may",
        f"utility       {told['utility']}; means over the {told['requests']:,} requests that both decided",
        f"start         {told['start']}",
        f"{'tenth':>7} {'requests':>9} {'bandit':>10} {'start':>10} {'gained':>10} {'explored':>9}",
    ]
    lines += [
        f"{k:>7} {one['requests']:>9,} {one['mean']:>10.4g} {one['start_mean']:>10.4g} {one['gained']:>10.4g} "
        f"{100 * one['explored_share']:>7.1f} %"
        for k, one in enumerate(told["tenths"], 1)
    ]
    if told["mean"] is not None:
        lines.append(f"{'all':>7} {told['requests']:>9,} {told['mean']:>10.4g} {told['start_mean']:>10.4g}")
    return "\n".join(lines)
