"""Coefficients of serving engines from published TTFT and TPOT, by runtime, accelerator and precision.

Each coefficient is a product of effects, added up in logarithms:

    coefficient = general x runtime x accelerator x precision x (runtime on accelerator) x (that at precision) x version

and each effect is held towards 1 by how much it is expected to vary (a ridge: a Gaussian prior), so that a group with
few rows borrows from the others, and one without rows has what its parents have. Errors are relative and enter through
a soft L1 loss: a benchmark that waited seconds for a compiler moves nothing. No effect belongs to a model: what is left
over for a model that was never measured is told by leaving each one out (`sim.calibration.serving_held_out`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from sim.calibration.closed_loop import Case, cases_of, predict
from sim.calibration.serving_inputs import Served
from sim.numbers import Floats

__all__ = ["ALL_LEVELS", "BY_VERSION", "FIXED", "PRIORS", "Effects", "Groups", "ServingFit", "fit_serving", "groups_of"]


@dataclass(frozen=True, slots=True)
class Prior:
    """Where a coefficient starts, and by how much (in logarithms) one group's may differ from another's."""

    value: float
    spread: float
    most: float = np.inf


PRIORS: Mapping[str, Prior] = {
    "gemm_efficiency": Prior(0.75, 0.42, 0.95),
    "gemm_half_tokens": Prior(64.0, 0.98),
    "weight_read_efficiency": Prior(0.8, 0.35, 0.95),
    "kv_read_efficiency": Prior(0.75, 0.42, 0.95),
    "prefill_attention_efficiency": Prior(0.5, 0.56, 0.95),
    "host_step_us": Prior(800.0, 0.8),
    "layer_us": Prior(40.0, 0.8),
    "layer_per_sequence_us": Prior(0.15, 1.12),
    "per_sequence_us": Prior(5.0, 1.12),
    "prefill_launch_us": Prior(60.0, 1.12),
    "moe_prefill_launch_us": Prior(100.0, 1.12),
    "moe_gemm_derate": Prior(0.6, 0.56, 1.0),
    "moe_read_derate": Prior(0.7, 0.42, 1.0),
    "moe_layer_us": Prior(30.0, 0.8),
    "collective_latency_us": Prior(10.0, 0.84),
    "collective_efficiency": Prior(0.5, 0.7, 0.95),
    "request_ms": Prior(30.0, 1.4),
    "burst_share": Prior(0.15, 1.4, 0.6),
    "slot_share": Prior(0.02, 2.8),
}
FIXED: Mapping[str, float] = {  # what serving measurements cannot tell apart
    "mixed_query_tile_rows": 1.0,
    "smooth_exponent": 2.5,
    "sampler_us": 25.0,
    "sampler_per_sequence_us": 0.4,
    "activation_traffic_factor": 2.8,
    "host_staged_efficiency": 0.25,
    "host_staged_collective_latency_us": 35.0,
}
_MIXED_ATTENTION = 0.9  # of prefill_attention_efficiency
_LEVELS = {"runtime": 0.5, "accelerator": 0.5, "precision": 0.3, "pair": 0.35, "triple": 0.25}
_VERSION_LEVEL = 0.6
ALL_LEVELS = (*_LEVELS, "version")
BY_VERSION = (
    "host_step_us", "layer_us", "moe_layer_us", "prefill_launch_us", "moe_prefill_launch_us",
    "request_ms", "burst_share", "slot_share",
)  # fmt: skip
_TPOT_ERROR, _TTFT_ERROR = 0.10, 0.25  # relative errors that the loss takes for ordinary
_STEP = 1e-4
_MOST_STEPS = 40
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 0.1, 1e-6, 1e6
_LONGEST = 1.0  # of a step of one effect
_ENOUGH = 1e-5  # of the cost: what is gained by the last step
_LARGEST = 4.0  # of the logarithm of a coefficient by its prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """What a row's coefficients depend on."""

    runtime: str
    accelerator: str
    precision: str
    version: str

    def of(self, level: str) -> str:
        """The name of the row's group at a level."""
        if level == "pair":
            return f"{self.runtime} {self.accelerator}"
        if level == "triple":
            return f"{self.runtime} {self.accelerator} {self.precision}"
        return str(getattr(self, level))


def groups_of(row: Served) -> Groups:
    """The groups of a row."""
    return Groups(
        runtime=row.runtime,
        accelerator=row.deployment.accelerator.name,
        precision=row.deployment.precision,
        version=row.version,
    )


Effects = Mapping[tuple[str, str, str], float]  # (coefficient, level, group) -> effect in logarithms


class _Design:
    """Which effects there are, and which rows each one touches."""

    def __init__(self, groups: Sequence[Groups]) -> None:
        self.keys: list[tuple[str, str, str]] = []
        self.blocks: dict[str, tuple[slice, Floats]] = {}
        spreads: list[float] = []
        for name, prior in PRIORS.items():
            first, columns = len(self.keys), []
            levels = {"general": 1.0} | _LEVELS | ({"version": _VERSION_LEVEL} if name in BY_VERSION else {})
            for level, share in levels.items():
                members = [one.of(level) if level != "general" else "" for one in groups]
                for group in sorted(set(members)):
                    self.keys.append((name, level, group))
                    spreads.append(prior.spread * share)
                    columns.append([member == group for member in members])
            self.blocks[name] = (slice(first, len(self.keys)), np.array(columns, float).T)
        self.spreads = np.array(spreads)

    def coefficients(self, effects: Floats) -> SimpleNamespace:
        """Arrays of (rows), by name, from effects of (keys)."""
        return coefficients({name: block @ effects[at] for name, (at, block) in self.blocks.items()})


def coefficients(logarithms: Mapping[str, Any]) -> SimpleNamespace:
    """Coefficients from the sums of their effects, with the fixed ones beside them."""
    found = dict(FIXED) | {
        name: np.minimum(prior.value * np.exp(np.clip(logarithms[name], -_LARGEST, _LARGEST)), prior.most)
        for name, prior in PRIORS.items()
    }
    found["mixed_attention_efficiency"] = _MIXED_ATTENTION * found["prefill_attention_efficiency"]
    return SimpleNamespace(**found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFit:
    """The effects that were found."""

    effects: Effects

    def coefficients_of(self, groups: Groups, *, levels: Sequence[str] = ALL_LEVELS) -> SimpleNamespace:
        """The coefficients of a group, with the effects of some levels only. Unknown groups have no effect."""

        def total(name: str) -> float:
            parts = [self.effects.get((name, level, groups.of(level)), 0.0) for level in levels]
            return self.effects[name, "general", ""] + sum(parts)

        return coefficients({name: total(name) for name in PRIORS})

    def predict(self, rows: Sequence[Served], *, levels: Sequence[str] = ALL_LEVELS) -> tuple[Floats, Floats]:
        """TPOT and TTFT in seconds, arrays of (rows), with the effects of some levels only."""
        each = [self.coefficients_of(groups_of(row), levels=levels) for row in rows]
        names = vars(each[0])
        return predict(cases_of(rows), SimpleNamespace(**{n: np.array([getattr(e, n) for e in each]) for n in names}))


def fit_serving(rows: Sequence[Served], tpot_s: Floats, ttft_s: Floats, *, most_steps: int = _MOST_STEPS) -> ServingFit:
    """Effects that explain measured TPOT and TTFT, arrays of (rows) in seconds, NaN where not measured.

    Levenberg-Marquardt from the priors: nothing but the rows decides where it ends.
    """
    design = _Design([groups_of(row) for row in rows])
    problem = _Problem(design, cases_of(rows), tpot_s, ttft_s)
    effects = np.zeros(len(design.keys))
    errors = problem.errors(effects)
    cost, damping = problem.cost(effects, errors), _FIRST_DAMPING
    for _ in range(most_steps):
        slopes = problem.slopes(effects, errors)
        curvature = slopes.T @ slopes + np.diag(1.0 / design.spreads**2)
        downhill = slopes.T @ errors + effects / design.spreads**2
        gained = 0.0
        while gained <= 0.0 and damping < _MOST_DAMPING:
            damped = curvature + damping * np.diag(np.diag(curvature))
            tried = effects - np.clip(np.linalg.solve(damped, downhill), -_LONGEST, _LONGEST)
            tried_errors = problem.errors(tried)
            gained = cost - problem.cost(tried, tried_errors)
            damping = damping * 4.0 if gained <= 0.0 else max(damping / 5.0, _LEAST_DAMPING)
        if gained <= 0.0:
            break
        effects, errors, cost = tried, tried_errors, cost - gained
        if gained < _ENOUGH * cost:
            break
    return ServingFit(effects=dict(zip(design.keys, effects.tolist(), strict=True)))


class _Problem:
    """Errors of a set of effects: logarithms of predicted by measured, in ordinary errors, softened."""

    def __init__(self, design: _Design, case: Case, tpot_s: Floats, ttft_s: Floats) -> None:
        self._design, self._case = design, case
        self._tpot, self._ttft = np.flatnonzero(np.isfinite(tpot_s)), np.flatnonzero(np.isfinite(ttft_s))
        self._measured = np.log(np.concatenate([tpot_s[self._tpot], ttft_s[self._ttft]]))
        self._ordinary = np.repeat([_TPOT_ERROR, _TTFT_ERROR], [len(self._tpot), len(self._ttft)])

    def cost(self, effects: Floats, errors: Floats) -> float:
        """Half the sum of the squares of errors and of effects in their spreads."""
        return 0.5 * float(errors @ errors + np.sum((effects / self._design.spreads) ** 2))

    def slopes(self, effects: Floats, errors: Floats) -> Floats:
        """What each effect does to each error, (errors, effects)."""
        parts = []
        for name, (_, block) in self._design.blocks.items():
            slope = (self.errors(effects, shift=name) - errors) / _STEP
            parts.append(np.concatenate([block[self._tpot], block[self._ttft]]) * slope[:, None])
        return np.hstack(parts)

    def errors(self, effects: Floats, *, shift: str | None = None) -> Floats:
        """The errors; with one coefficient a little larger in every row, for a derivative."""
        found = self._design.coefficients(effects)
        if shift is not None:
            setattr(found, shift, np.minimum(getattr(found, shift) * np.exp(_STEP), PRIORS[shift].most))
            found.mixed_attention_efficiency = _MIXED_ATTENTION * found.prefill_attention_efficiency
        tpot, ttft = predict(self._case, found)
        error = np.log(np.concatenate([tpot[self._tpot], ttft[self._ttft]])) - self._measured
        return _softened(error / self._ordinary)


def _softened(error: Floats) -> Floats:
    """What, squared, is the soft L1 loss 2 (sqrt(1 + e^2) - 1); it keeps its sign."""
    return np.sign(error) * np.sqrt(2.0 * (np.sqrt(1.0 + error**2) - 1.0))
