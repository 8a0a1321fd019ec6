"""`nearfar tune`: its words as arguments, its result as an object and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from policies.learning.from_log import from_log, from_log_screen
from policies.learning.utility import parse_utility
from policies.policy import load_policy
from profiles.errors import UserError
from sim.loading import parse_changes
from sim.tuning.screen import tune_screen
from sim.tuning.tune import tune

__all__ = ["tuned_from_log", "tuned_in"]


def tuned_in(
    scenarios: Sequence[str],
    *,
    utility: str,
    out: Path | None,
    slo: str,
    judge_on: Sequence[str],
    loads: str,
    train_seeds: str,
    budget: int,
    seed: int,
    bounds: bool,
    free_rules: bool,
    settings: list[str],
    told: Callable[[str], None],
) -> tuple[dict[str, Any], str]:
    """Tune in scenarios. Raises `UserError`."""
    if out is None:
        raise UserError("tune needs a file to write the policy to", next_step="give --out POLICY.yaml")
    result = tune(
        scenarios,
        utility=utility,
        out=out,
        slo=slo,
        judge_on=judge_on,
        loads=_numbers("--load", loads, float),
        train_seeds=_numbers("--train-seeds", train_seeds, int),
        budget=budget,
        seed=seed,
        bounds=bounds,
        free_rules=free_rules,
        changes=parse_changes(settings),
        told=told,
    )
    return result, tune_screen(result)


def tuned_from_log(
    path: Path, *, utility: str, candidates: Sequence[str], baseline: str | None, out: Path | None
) -> tuple[dict[str, Any], str]:
    """Learn from a decision log; `out` is a folder for policies that it suggests. Raises `UserError`."""
    result = from_log(
        path,
        candidates=[load_policy(one, folder=Path.cwd()) for one in candidates],
        utility=parse_utility(utility),
        baseline=None if baseline is None else load_policy(baseline, folder=Path.cwd()),
        out=out,
    )
    return result, from_log_screen(result)


def _numbers(option: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"{option}: bad value", got=text, allowed="numbers with commas between them") from None
