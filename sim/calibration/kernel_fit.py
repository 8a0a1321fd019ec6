"""Coefficients of an engine from kernel timings of one dense model on one card.

    fit = fit_kernels(read_kernels(folder), deployment)
    fit.values["gemm_efficiency"], fit.errors["gemm"].mean_absolute

Each term of the latency model is fitted to the kernels that it stands for, by the smallest mean absolute error: single
slow kernels (an unlucky tile size) then weigh no more than others. GEMMs, small kernels and head are weighted evenly
over the logarithm of their size. Small kernels and attention count their errors in shares of the layer's time: what is
wrong with a short kernel matters little. Attention is fitted where engines mostly work.

Kernel timings show neither host time nor what happens between kernels: `host_step_us` and `per_sequence_us` are not
among the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from sim.calibration.kernel_timings import KernelTimings
from sim.deployment import Deployment
from sim.latency import attention_terms
from sim.numbers import Floats
from sim.pool import StepShape
from sim.rates import Rates
from sim.work import Work, work_of

__all__ = ["KernelFit", "TermError", "fit_kernels"]

_DIGITS = 3  # significant, of a fitted value
_ROUNDS, _DAMPING, _NUDGE, _LONGEST = 150, 1e-3, 1e-4, 0.5  # of the search, in logarithms
_FLAT = 0.005  # errors below count as this when they are reweighted
_LEAST = 1e-4  # of a coefficient
_DECODE_STEPS = {"decodes": (4, 256), "context": (256, 4096)}  # where engines mostly work: least and most
_MIXED_STEPS = {"decodes": (16, 256), "context": (512, 2048), "chunk": (128, 2048), "before": (0, 1024)}
_UNEVEN_CONTEXTS = 0.95
"""What decode attention loses when contexts differ, as they do in every real batch: timings have one context for all.

Published skewed timings lie 5 % of the way from the time of the mean to that of the longest context, which is taken
to be about twice the mean.
"""
_START = {
    "gemm_efficiency": 0.8,
    "gemm_half_tokens": 64.0,
    "weight_read_efficiency": 0.9,
    "kv_read_efficiency": 0.85,
    "prefill_attention_efficiency": 0.5,
    "mixed_attention_efficiency": 0.5,
    "layer_us": 10.0,
    "attention_us": 10.0,
    "layer_per_sequence_us": 0.15,
    "sampler_us": 25.0,
    "sampler_per_sequence_us": 0.4,
    "activation_traffic_factor": 2.0,
}
"""Where every search begins, so that a fit depends on nothing but the timings."""
Values = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TermError:
    """How a term meets its kernels: mean absolute and mean error, as shares of the time it is counted in."""

    mean_absolute: float
    mean: float
    kernels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFit:
    """Fitted fields of an engine record, and how far each term is off."""

    values: Mapping[str, float]
    errors: Mapping[str, TermError]

    def record_text(self) -> str:
        """The fields as lines of an engine record's YAML, after a comment for the error of each term."""
        lines = [
            f"# {name}: {error.mean_absolute:.1%} off, {error.mean:+.1%} on average, over {error.kernels} kernels"
            for name, error in self.errors.items()
        ]
        return "\n".join([*lines, *(f"{name}: {value:g}" for name, value in self.values.items())]) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """What to fit to what: `predict` gives microseconds, an error counts in shares of `share_us`."""

    names: tuple[str, ...]
    predict: Callable[[Values], Floats]
    measured_us: Floats
    share_us: Floats
    weights: Floats

    def errors(self, values: Values) -> Floats:
        return (self.predict(values) - self.measured_us) / self.share_us

    def loss(self, values: Values) -> float:
        return float(np.average(abs(self.errors(values)), weights=self.weights))


def fit_kernels(timings: KernelTimings, deployment: Deployment) -> KernelFit:
    """Fit the terms one after another.

    `deployment` is the dense model on one card as it was timed; of its engine, the exponent and the tile are taken.
    """
    work, room = work_of(deployment), _cache_tokens(deployment)
    values = {name: value for name, value in deployment.engine if isinstance(value, int | float)} | _START
    fitted: list[str] = []
    errors: dict[str, TermError] = {}
    for name, make in _TERMS.items():
        term = make(timings, work, values, room)
        values = _descend(term, values)
        values |= {field: _rounded(values[field]) for field in term.names}
        off = term.errors(values)
        errors[name] = TermError(
            mean_absolute=term.loss(values),
            mean=float(np.average(off, weights=term.weights)),
            kernels=len(off),
        )
        fitted += term.names
    values["kv_read_efficiency"] = _rounded(values["kv_read_efficiency"] * _UNEVEN_CONTEXTS)
    values["layer_us"] = _rounded(values["layer_us"] + values["attention_us"])
    return KernelFit(values={field: values[field] for field in fitted if field != "attention_us"}, errors=errors)


def _descend(term: _Term, values: Values) -> Values:
    """Levenberg-Marquardt in logarithms, errors reweighted so that their absolute values count, not their squares."""
    damping, best = _DAMPING, term.loss(values)
    for _ in range(_ROUNDS):
        errors = term.errors(values)
        weights = term.weights / np.maximum(abs(errors), _FLAT)
        slopes = (
            np.stack([term.errors(_moved(values, {name: _NUDGE})) - errors for name in term.names], axis=1) / _NUDGE
        )
        curvature = slopes.T @ (weights[:, None] * slopes)
        curvature += damping * np.trace(curvature) * np.eye(len(term.names))
        step = np.clip(np.linalg.solve(curvature, -slopes.T @ (weights * errors)), -_LONGEST, _LONGEST)
        tried = _moved(values, dict(zip(term.names, step.tolist(), strict=True)))
        if (loss := term.loss(tried)) < best:
            values, best, damping = tried, loss, damping / 3.0
        else:
            damping *= 4.0
    return values


def _moved(values: Values, logarithms: Mapping[str, float]) -> Values:
    """Some values times the exponential of what is given, none of them nearer to 0 than matters."""
    return values | {name: max(values[name] * math.exp(by), _LEAST) for name, by in logarithms.items()}


def _rounded(value: float) -> float:
    """A few significant digits, and nothing beyond the third decimal."""
    return round(float(f"{value:.{_DIGITS}g}"), 3)


# -- the terms ---------------------------------------------------------------------------------------------------------


def _gemm(timings: KernelTimings, work: Work, _: Values, __: float) -> _Term:
    return _Term(
        names=("gemm_efficiency", "gemm_half_tokens", "weight_read_efficiency"),
        predict=lambda values: _gemm_us(_rates(work, values), timings.tokens, work),
        measured_us=timings.gemm_us,
        share_us=timings.gemm_us,
        weights=_evenly(timings.tokens),
    )


def _small(timings: KernelTimings, work: Work, _: Values, __: float) -> _Term:
    def predict(values: Values) -> Floats:
        traffic = _rates(work, values).small_kernels_s(timings.tokens)
        return np.asarray(values["layer_us"] + traffic / work.layers * 1e6)

    return _Term(
        names=("layer_us", "activation_traffic_factor"),
        predict=predict,
        measured_us=timings.small_us,
        share_us=timings.gemm_us,
        weights=_evenly(timings.tokens),
    )


def _head(timings: KernelTimings, work: Work, _: Values, __: float) -> _Term:
    measured = timings.head_us + timings.sampler_us
    return _Term(
        names=("sampler_us", "sampler_per_sequence_us"),
        predict=lambda values: np.asarray(_rates(work, values).head_s(timings.sequences) * 1e6),
        measured_us=measured,
        share_us=measured,
        weights=_evenly(timings.sequences),
    )


def _decode_attention(timings: KernelTimings, work: Work, values: Values, room: float) -> _Term:
    names = ("kv_read_efficiency", "layer_per_sequence_us", "attention_us")
    return _attention(names, timings, work, values, room, mixed=False)


def _mixed_attention(timings: KernelTimings, work: Work, values: Values, room: float) -> _Term:
    names = ("prefill_attention_efficiency", "mixed_attention_efficiency")
    return _attention(names, timings, work, values, room, mixed=True)


def _attention(
    names: tuple[str, ...], timings: KernelTimings, work: Work, values: Values, room: float, *, mixed: bool
) -> _Term:
    """Attention of steps of decodes only, or of steps that hold a prefill: where engines work, and the cache holds."""
    chunk, before, decodes, context, measured = _working(timings.attention, room, mixed=mixed).T
    shape = StepShape(
        prefill_tokens=chunk,
        prefill_attended=chunk * before + chunk * (chunk + 1.0) / 2.0,
        prefill_attended_window=0,
        prefill_end=(chunk + before) * (chunk > 0),
        prefill_end_window=0,
        decodes=decodes,
        decode_context=decodes * context,
        decode_context_window=0,
        emitting=0,
        sequences=decodes + (chunk > 0),
    )

    def predict(values: Values) -> Floats:
        rates = _rates(work, values)
        seconds = rates.smooth(*attention_terms(rates, shape)) + rates.kernels_per_sequence_s * shape.sequences
        return np.asarray(values["attention_us"] + seconds / work.layers * 1e6)

    gemm_us = _gemm_us(_rates(work, values), chunk + decodes, work)
    return _Term(
        names=names,
        predict=predict,
        measured_us=measured,
        share_us=gemm_us + values["layer_us"] + measured,
        weights=np.ones_like(measured),
    )


_TERMS: dict[str, Callable[[KernelTimings, Work, Values, float], _Term]] = {
    "gemm": _gemm,
    "small kernels": _small,
    "head and sampler": _head,
    "attention of decodes": _decode_attention,
    "attention of mixed steps": _mixed_attention,
}


def _rates(work: Work, values: Values) -> Rates:
    return Rates(work, SimpleNamespace(**values))


def _gemm_us(rates: Rates, tokens: Floats, work: Work) -> Floats:
    """GEMMs of one layer."""
    seconds = rates.smooth(rates.gemm_compute_s(tokens), rates.gemm_memory_s(tokens))
    return np.asarray(seconds / work.layers * 1e6)


def _evenly(sizes: Floats) -> Floats:
    """Weights that count every stretch of log(size) alike."""
    return np.gradient(np.log(sizes))


def _working(rows: Floats, room: float, *, mixed: bool) -> Floats:
    """The rows of attention.csv to fit to: the cache holds them, and they lie where engines mostly work."""
    chunk, before, decodes, context, _ = rows.T
    limits = _MIXED_STEPS if mixed else _DECODE_STEPS
    keep = chunk + before + decodes * context <= room
    for values, name in ((decodes, "decodes"), (context, "context")):
        keep &= (limits[name][0] <= values) & (values <= limits[name][1]) | (mixed & (decodes == 0))
    if mixed:
        for values, name in ((chunk, "chunk"), (before, "before")):
            keep &= (limits[name][0] <= values) & (values <= limits[name][1])
    else:
        keep &= chunk == 0
    return np.asarray(rows[keep])


def _cache_tokens(deployment: Deployment) -> float:
    """Tokens that the card's KV cache holds: more is never attended to in one step."""
    memory = deployment.memory(max_num_batched_tokens=2048)
    return float(memory.kv_blocks(utilization=0.9, max_num_seqs=0, block_size=16) * 16)
