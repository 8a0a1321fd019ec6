"""What another policy would have brought, from a log of what this one did.

Decision i offered actions with features, of which the log took a_i with chance p_i and earned r_i. A candidate takes
action a with chance π_i(a); w_i = π_i(a_i) / p_i. Its value, the mean reward that it would have earned, by

    DM       mean of Σ_a π_i(a) q(a): a model q of the reward; as wrong as the model
    IPS      mean of w_i r_i: right on average, whatever the model; wide
    SNIPS    Σ w_i r_i / Σ w_i: narrower, slightly off in small logs
    DR       mean of Σ_a π_i(a) q(a) + w_i (r_i − q(a_i)): right on average, narrower the better the model

(Horvitz and Thompson 1952; Swaminathan and Joachims 2015; Dudík, Langford and Li 2011). The model never saw the
decision that it is asked about. A verdict rests on DR, and is given only when the log can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policies.layout import KINDS
from policies.learning.decisions import Decisions
from policies.learning.exploring import NOISE, linear_scores, win_chances
from policies.learning.reward_model import cross_fitted
from policies.learning.utility import UNANSWERED_S, Utility
from policies.policy import Policy

__all__ = [
    "MIN_ESS",
    "MOST_UNLOGGED",
    "Estimate",
    "Judged",
    "Sample",
    "Verdict",
    "chances",
    "evaluate",
    "judge",
    "sample_of",
]

MIN_ESS = 100.0
"""Effective sample size, (Σ w)² / Σ w², below which nothing is concluded."""
MOST_UNLOGGED = 0.01
"""Share of a candidate's choices that the log may never have made."""
MOST_SPOILED = 0.2
"""Difference between kinds of actions in the share of outcomes that are known."""

_COMMON = 20  # answers of a kind from which its share of labels says something

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval at the level that was asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The decisions whose reward is known, and what the model makes of all their actions."""

    log: Decisions
    rewards: NDArray[np.float64]
    predicted: NDArray[np.float64]
    """(m,): by `reward_model.cross_fitted`."""
    nothing: float
    """The reward of a request that a candidate has no action for."""
    spoiled: str = ""
    """Why no comparison of these rewards would be fair; empty when it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the log says of one candidate."""

    name: str
    dm: float
    ips: Estimate
    snips: Estimate
    dr: Estimate
    gain: Estimate
    """DR of the candidate − that of what it is compared with, decision by decision."""
    ess: float
    largest_weight: float
    clipped: int
    """Decisions whose weight was cut; they make IPS and DR favour the log."""
    unlogged: float
    """Estimated share of its choices that the log never makes."""
    without_action: float
    """Share of decisions for which it has no action."""
    same: float
    """Share of decisions for which it takes the action that was logged."""
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A candidate's part in every decision (n,)."""

    weight: NDArray[np.float64]
    uncut: NDArray[np.float64]
    """Weights before any was clipped."""
    chance: NDArray[np.float64]
    """Of taking the logged action."""
    dm: NDArray[np.float64]
    dr: NDArray[np.float64]
    ips: NDArray[np.float64]
    without: NDArray[np.bool_]
    clipped: int

    @property
    def ess(self) -> float:
        square = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / square if square > 0.0 else 0.0


def sample_of(log: Decisions, utility: Utility) -> tuple[Sample, int]:
    """The part of a log that has rewards, modelled; and how many decisions were left out."""
    rewards = log.rewards(utility)
    known, spoiled = _usable(log, np.isfinite(rewards))
    part = log.subset(known)
    nothing = utility.of({name: UNANSWERED_S if name in ("ttft_s", "e2e_s") else 0.0 for name, _ in utility.terms})
    sample = Sample(
        log=part,
        rewards=rewards[known],
        predicted=cross_fitted(part, rewards[known]) if len(part) else np.zeros(0),
        nothing=nothing,
        spoiled=spoiled,
    )
    return sample, int(np.count_nonzero(~known))


def _usable(log: Decisions, known: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """Decisions (n,) to compare by, and why even these would not be fair.

    Where labels are missing, what is left would hold too many unanswered requests, which need none, and too many of the
    kinds that are labelled more often. So all are thinned to the share of the kind that is labelled least.
    """
    kind = log.kind[log.chosen]
    count = np.bincount(kind[log.answered], minlength=len(KINDS))
    labelled = np.bincount(kind[log.answered & known], minlength=len(KINDS))
    common = count >= _COMMON
    if not common.any() or known[log.answered].all():
        return known, ""
    share = labelled / np.maximum(count, 1)
    least = float(share[common].min())
    lot = (log.request * np.uint32(2654435761)).astype(np.float64) / 2.0**32
    keep = known & (lot < np.where(log.answered, least / np.maximum(share, 1e-9)[kind], least))
    if float(share[common].max()) - least <= MOST_SPOILED:
        return keep, ""
    words = ", ".join(f"{100 * share[k]:.0f} % of {KINDS[k]}" for k in np.flatnonzero(common))
    return keep if keep.any() else known, f"outcomes are known of {words}"


def chances(policy: Policy, log: Decisions) -> NDArray[np.float64]:
    """(m,): chance with which a policy takes each action, its noise not drawn yet. Zeros where it has none."""
    table = policy.table(log.tasks)
    allowed = log.feasible & np.array(table.kinds)[log.kind]
    still = table.weights.copy()
    still[NOISE] = 0.0
    scores = linear_scores(log.phi, still, table.scene[log.task[log.row], log.kind])
    won = win_chances(log.padded(np.where(allowed, scores, -np.inf), -np.inf), float(table.weights[NOISE]))
    sizes = np.diff(log.start)
    return won[np.arange(won.shape[1]) < sizes[:, None]]


def evaluate(sample: Sample, taken: NDArray[np.float64], *, clip: float | None = None) -> Evaluated:
    """The parts of the estimators for chances (m,) of taking each action; weights above `clip` are cut to it."""
    log = sample.log
    chance = taken[log.chosen]
    uncut = chance / log.propensity
    weight = uncut if clip is None else np.minimum(uncut, clip)
    dm = np.add.reduceat(taken * sample.predicted, log.start[:-1]) if len(log) else np.zeros(0)
    without = np.add.reduceat(taken, log.start[:-1]) < 0.5 if len(log) else np.zeros(0, np.bool_)
    lost = np.where(without, sample.nothing, 0.0)
    residual = sample.rewards - sample.predicted[log.chosen]
    return Evaluated(
        weight=weight,
        uncut=uncut,
        chance=chance,
        dm=dm + lost,
        dr=dm + lost + weight * residual,
        ips=weight * sample.rewards + lost,
        without=without,
        clipped=int(np.count_nonzero(weight < uncut)),
    )


def judge(
    sample: Sample,
    policy: Policy,
    *,
    against: Policy | None = None,
    level: float = 0.95,
    clip: float | None = None,
    min_ess: float = MIN_ESS,
) -> Judged:
    """A candidate against another policy or, without one, against what the log did, exploring included."""
    log = sample.log
    parts = evaluate(sample, chances(policy, log), clip=clip)
    other = None if against is None else evaluate(sample, chances(against, log), clip=clip)
    gains = parts.dr - (sample.rewards if other is None else other.dr)
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    gain = _mean(gains, z)
    snips, unlogged = _snips(parts, sample, z), _unlogged(parts)
    reason = (
        sample.spoiled
        or _not_offered(policy, log)
        or (_not_offered(against, log) if against else "")
        or _too_little(parts, min_ess, unlogged)
        or (_too_little(other, min_ess, _unlogged(other), " (of what it is compared with)") if other else "")
        or _within_noise(gain, gains)
        or _at_odds(snips, _mean(parts.dr, z))
    )
    verdict: Verdict = "cannot tell" if reason else "better" if gain.low > 0.0 else "worse"
    return Judged(
        name=policy.name,
        dm=float(parts.dm.mean()),
        ips=_mean(parts.ips, z),
        snips=snips,
        dr=_mean(parts.dr, z),
        gain=gain,
        ess=parts.ess,
        largest_weight=float(parts.weight.max(initial=0.0)),
        clipped=parts.clipped,
        unlogged=unlogged[0],
        without_action=float(parts.without.mean()),
        same=float(parts.chance.mean()),
        verdict=verdict,
        reason=reason
        or f"the {100 * level:.1f} % interval of the gain lies {'above' if gain.low > 0.0 else 'below'} 0",
    )


# -- intervals ---------------------------------------------------------------------------------------------------------


def _mean(values: NDArray[np.float64], z: float) -> Estimate:
    """The mean of independent values, with its normal interval."""
    middle = float(values.mean())
    half = z * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.inf
    return Estimate(middle, middle - half, middle + half)


def _snips(parts: Evaluated, sample: Sample, z: float) -> Estimate:
    """The ratio of two means, with the interval of its linearisation (delta method)."""
    weight = np.where(parts.without, 1.0, parts.weight)
    earned = np.where(parts.without, sample.nothing, parts.weight * sample.rewards)
    if weight.sum() <= 0.0:
        return Estimate(np.nan, -np.inf, np.inf)
    middle = float(earned.sum() / weight.sum())
    around = _mean((earned - middle * weight) / weight.mean(), z)
    return Estimate(middle, middle + around.low - around.value, middle + around.high - around.value)


def _unlogged(parts: Evaluated) -> tuple[float, float]:
    """1 − the mean weight, and its standard error: the weights of a log that makes every choice average to 1."""
    weight = parts.uncut[~parts.without]
    if len(weight) < 2:
        return 1.0, 0.0
    return 1.0 - float(weight.mean()), float(weight.std(ddof=1)) / len(weight) ** 0.5


# -- what the log cannot tell ------------------------------------------------------------------------------------------


def _not_offered(policy: Policy, log: Decisions) -> str:
    never = [kind for kind in policy.actions if kind not in log.offered]
    return f"it may choose {', '.join(never)}, which the log never offered" if never else ""


def _too_little(parts: Evaluated, min_ess: float, unlogged: tuple[float, float], whose: str = "") -> str:
    share, error = unlogged
    if share - 2.0 * error > MOST_UNLOGGED:
        return (
            f"{100 * share:.1f} % of its choices were never logged{whose}; at most {100 * MOST_UNLOGGED:.0f} % may be"
        )
    if parts.ess < min_ess:
        return f"effective sample size {parts.ess:.0f} is below {min_ess:g}{whose}"
    if -share - 4.0 * error > MOST_UNLOGGED:
        return f"the propensities do not fit the choices: weights average {1.0 - share:.3f}, not 1{whose}"
    return ""


def _within_noise(gain: Estimate, gains: NDArray[np.float64]) -> str:
    if gain.low > 0.0 or gain.high < 0.0:
        return ""
    if not gains.any():
        return "it chooses what it is compared with"
    more = ((gain.high - gain.low) / 2.0 / max(abs(gain.value), 1e-300)) ** 2
    longer = f"about {more:.1f} times as many decisions could tell" if more < 1e4 else "there may be no difference"
    return f"the interval of the gain includes 0; {longer}"


def _at_odds(snips: Estimate, dr: Estimate) -> str:
    if snips.high < dr.low or snips.low > dr.high:
        return "self-normalised and doubly robust estimates contradict each other"
    return ""
