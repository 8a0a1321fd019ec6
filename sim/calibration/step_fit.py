"""Scheduling alone: step times fitted to a run's own batches, its requests replayed, compared request by request.

    checked = scheduling_alone(Path("vidur_run"))
    checked["error"]["e2e_s"]["mean"]

With step times that are right on average, what is left of an error is what scheduling does differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiles import UserError
from sim.calibration.scheduled_run import ScheduledRun, Shapes, batch_shapes, read_scheduled
from sim.numbers import Floats
from sim.plane import DataPlane, StepCosts
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.replay_workload import recorded_workload
from sim.warm_up import warm_up

__all__ = ["StepFit", "fit_steps", "scheduling_alone", "scheduling_screen"]

_TOKEN_KNOTS = (0, 1, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
_EMITTING_KNOTS = (0, 16, 32, 64, 96, 128, 256, 512, 1024)
_LEAST_S = 1e-15  # that attending to one more token takes: more context is never faster
_PERCENTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFit:
    """Tables that give a run's batches their times, and the mean absolute relative error of one batch."""

    costs: StepCosts
    mean_absolute_error: float


def fit_steps(run: ScheduledRun, shapes: Shapes) -> StepFit:
    """Least squares: piecewise linear in tokens and in emitting sequences, linear in attended context.

    The sum of all times is met, as the constant part of a step is among the pieces.
    """
    tokens = shapes.prefill_tokens + shapes.decodes
    token_knots = _knots(_TOKEN_KNOTS, run.token_budget)
    emitting_knots = _knots(_EMITTING_KNOTS, int(shapes.emitting.max()))
    mixed = shapes.prefill_tokens > 0
    features = np.column_stack(
        [
            _pieces(tokens, token_knots)[:, 1:],
            _pieces(shapes.emitting, emitting_knots)[:, 1:],
            shapes.prefill_attended,
            shapes.decode_context * mixed,
            shapes.decode_context * ~mixed,
        ]
    )
    found, *_ = np.linalg.lstsq(features, run.batch_s, rcond=None)
    found[-3:] = np.maximum(found[-3:], _LEAST_S)
    attend, mixed_context, decode_context = found[-3:]
    at_tokens, at_emitting = np.split(found[:-3], [len(token_knots) - 1])
    return StepFit(
        costs=_costs(
            run,
            token_s=np.interp(np.arange(run.token_budget + 1.0), token_knots, [0.0, *at_tokens]),
            emit_s=np.interp(np.arange(run.max_batch + 1.0), emitting_knots, [0.0, *at_emitting]),
            attend_s=attend,
            mixed_rows=mixed_context / attend,
            decode_attend_s=decode_context,
        ),
        mean_absolute_error=float(np.mean(abs(features @ found / run.batch_s - 1.0))),
    )


def scheduling_alone(folder: Path) -> dict[str, Any]:
    """What `nearfar validate --scheduling` prints. Raises `UserError` for a run that does not fit the rules."""
    run = read_scheduled(folder)
    fit = fit_steps(run, batch_shapes(run))
    requests = _replayed(run, fit.costs)
    measured = {"ttft_s": run.ttft_s, "e2e_s": run.e2e_s}
    predicted = {
        "ttft_s": requests["first_token"] - requests["arrival"],
        "e2e_s": requests["finish"] - requests["arrival"],
    }
    old = {name: _statistics(values) for name, values in measured.items()}
    new = {name: _statistics(values) for name, values in predicted.items()}
    return {
        "run": str(folder),
        "requests": len(run.arrival_s),
        "batches": len(run.batch_s),
        "step_time_mean_absolute_error": fit.mean_absolute_error,
        "measured": old,
        "predicted": new,
        "error": {name: {key: new[name][key] / old[name][key] - 1.0 for key in old[name]} for name in old},
        "median_absolute_error": {
            name: float(np.median(abs(predicted[name] / measured[name] - 1.0))) for name in measured
        },
    }


def scheduling_screen(result: dict[str, Any]) -> str:
    """`scheduling_alone` for people."""
    lines = [
        f"{result['run']}: {result['requests']} requests, {result['batches']} batches, all composed alike",
        f"step times fitted to the batches: one is off by {result['step_time_mean_absolute_error']:.1%} on average",
        "",
        f"{'error':<8}" + "".join(f"{name:>9}" for name in result["error"]["e2e_s"]) + "   typical request",
    ]
    for name, label in (("ttft_s", "TTFT"), ("e2e_s", "E2E")):
        errors = "".join(f"{value:>+9.2%}" for value in result["error"][name].values())
        lines.append(f"{label:<8}{errors}{result['median_absolute_error'][name]:>18.2%}")
    return "\n".join(lines)


def _knots(all_of_them: tuple[int, ...], last: int) -> Floats:
    """Those below the last, and the last."""
    return np.array([*(knot for knot in all_of_them if knot < last), last], np.float64)


def _pieces(values: Floats, knots: Floats) -> Floats:
    """(n, knots): the weight of every knot in the linear interpolation at each value."""
    return np.stack([np.interp(values, knots, one) for one in np.eye(len(knots))], axis=1)


def _costs(run: ScheduledRun, *, token_s: Floats, emit_s: Floats, **rates: float) -> StepCosts:
    from sim.kernels.step_cost import STEP_COSTS

    costs = np.zeros(1, STEP_COSTS)
    for name, value in rates.items():
        costs[name] = value
    return StepCosts(
        costs=costs,
        token_s=token_s,
        token_j=np.zeros_like(token_s),
        emit_s=emit_s,
        emit_j=np.zeros_like(emit_s),
        smooth=np.ones(2),  # nothing is read: attention is its compute
    )


def _replayed(run: ScheduledRun, costs: StepCosts) -> Any:
    """The plane's records of the requests."""
    held = -(-(run.prompt_tokens + run.output_tokens) // run.block_size)
    engine = EngineSettings(
        max_num_seqs=min(run.max_batch, run.token_budget),
        max_num_batched_tokens=run.token_budget,
        max_model_len=int((run.prompt_tokens + run.output_tokens).max()),
        block_size=run.block_size,
        kv_blocks=run.blocks or int(held.max()) * run.max_batch,  # not stated: enough for every batch
        prefix_caching=False,
        async_scheduling=False,
    )
    warm_up()
    workload = recorded_workload(
        arrival_s=run.arrival_s,
        prompt_tokens=run.prompt_tokens,
        output_tokens=run.output_tokens,
        kind="vidur",
        path=str(run.folder),
    )
    plane = DataPlane(workload, [PoolPlan(settings=PoolSettings(engine=engine), costs=costs)])
    plane.advance(math.inf)
    if turned_away := int(np.isnan(plane.requests["first_token"]).sum()):
        raise UserError(
            f"{run.folder}: {turned_away} requests would not have been served",
            got=f"a cache of {engine.kv_blocks} blocks of {engine.block_size} tokens",
            next_step="check num_blocks and block_size in config.json",
        )
    return plane.requests


def _statistics(values: Floats) -> dict[str, float]:
    percentiles = {name: float(np.percentile(values, int(name[1:]))) for name in _PERCENTILES}
    return {"mean": float(values.mean())} | percentiles
