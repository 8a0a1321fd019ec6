"""Variants of a scenario side by side: common random numbers, paired intervals.

Every variant meets the same seeds, so the same arrivals, lengths, patience and failures; what differs between two
variants at one seed is the variant. The difference is taken seed by seed, and its interval is that of paired data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from profiles.errors import UserError
from profiles.reading import load_value
from sim.controls.specs import FlashCrowdSpec
from sim.loading import LoadedScenario, load, without_rollouts
from sim.results.metrics import interval, summarise
from sim.routing import PolicySource, located
from sim.run import Prepared, check_count, prepare, run
from sim.scenario import FleetScenario
from sim.workloads.workload import Workload

__all__ = ["FLEET_METRICS", "METRICS", "compare", "parse_variations"]

# What a comparison reports, as paths into a summary; and whether less is better.
METRICS: dict[str, bool] = {
    "ttft_s.mean": True,
    "ttft_s.p50": True,
    "ttft_s.p99": True,
    "tpot_s.mean": True,
    "tpot_s.p99": True,
    "e2e_s.mean": True,
    "e2e_s.p99": True,
    "queue_s.mean": True,
    "goodput_rps": False,
    "slo_attainment": False,
    "throughput_tok_s": False,
    "gpu_utilization": True,
    "kv_utilization": True,
    "preemptions": True,
    "prefix_hit_rate": False,
    "energy_j_per_request": True,
    "cost_usd_per_1k_requests": True,
    "completed": False,
}
FLEET_METRICS: dict[str, bool] = {
    "share.near": False,
    "share.edge": False,
    "share.far": True,
    "quality_mean": False,
    "battery_pct_per_day.p50": True,
    "battery_pct_per_day.p99": True,
    "throttled_share": True,
    "device_energy_j_per_request": True,
    "egress_bytes_per_request": True,
    "privacy_violations": True,
}
"""Those that follow when every run has a fleet."""


def parse_variations(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`path=a,b,c` texts as path -> values (each value is YAML). Raises `UserError`."""
    variations: dict[str, list[Any]] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        try:
            parts = load_value(f"[{values}]", "--vary")
        except UserError:
            parts = None
        if not equals or not path.strip() or not parts:
            raise UserError(
                "--vary needs path=value,value", got=text, next_step="for example --vary pools.cloud.replicas=2,3,4"
            )
        if path.strip() in variations:
            raise UserError("a path is varied twice", got=path.strip(), next_step="give all its values at once")
        variations[path.strip()] = parts
    return variations


def compare(
    source: str | Path | Mapping[str, Any] | None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    policies: Sequence[PolicySource] = (),
    seeds: int = 5,
    seed: int | None = None,
    set: Mapping[str, Any] | None = None,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run every combination of `vary` (path -> values) and `policies` (of a fleet) at `seeds` seeds.

    Returns `variants`: per variant its `set` values, `verdicts`, and per metric `{mean, low, high}` (95 %), and for all
    but the first `difference` to the first: `{mean, low, high}` of the paired differences. Raises `UserError`.
    """
    check_count("seeds", seeds)
    if seed is not None:
        check_count("seed", seed, least=0, most=2**63 - 1)
    vary = vary or {}
    _check_variations(vary, set or {}, policies, trace=trace, requests=requests)
    variants = [
        _Variant(_loaded(source, {**(set or {}), **changes}, policy), changes, located(policy))
        for policy in policies or (None,)
        for changes in (dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values()))
    ]
    first = variants[0].loaded.scenario.seed if seed is None else seed
    workloads: dict[str, Workload] = {}  # of one seed: variants that ask the same share it

    def ready(variant: _Variant, seed: int) -> Prepared:
        asks = variant.asks
        prepared = prepare(
            variant.loaded,
            seed=seed,
            policy=variant.policy,
            trace=trace,
            requests=requests,
            time_scale=time_scale,
            workload=workloads.get(asks),
        )
        workloads[asks] = prepared.workload
        return prepared

    named = [  # all of them first: a mistake in the last is told before the first has run
        variant.changes | ({"policy": routing.name} if (routing := ready(variant, first).routing) and policies else {})
        for variant in variants
    ]
    rows: list[list[dict[str, Any]]] = [[] for _ in variants]
    for k in range(seeds):
        for summaries, variant in zip(rows, variants, strict=True):
            summaries.append(summarise(run(ready(variant, first + k))))
            if progress is not None:
                progress(sum(map(len, rows)), len(rows) * seeds)
        workloads.clear()
    compared: list[dict[str, Any]] = [
        {"set": changes, "verdicts": [summary["verdict"] for summary in summaries]}
        for changes, summaries in zip(named, rows, strict=True)
    ]
    metrics = [*METRICS, *(FLEET_METRICS if all("share" in s for summaries in rows for s in summaries) else ())]
    for figures, summaries in zip(compared, rows, strict=True):
        for metric in metrics:
            values = [_at(summary, metric) for summary in summaries]
            figures[metric] = _interval(values)
            if summaries is not rows[0]:
                base = [_at(summary, metric) for summary in rows[0]]
                pairs = [None if a is None or b is None else a - b for a, b in zip(values, base, strict=True)]
                figures.setdefault("difference", {})[metric] = _interval(pairs)
    return {
        "scenario": variants[0].loaded.scenario.name,
        "vary": {path: list(values) for path, values in vary.items()}
        | ({"policy": list(dict.fromkeys(changes["policy"] for changes in named))} if policies else {}),
        "seeds": [first + k for k in range(seeds)],
        "variants": compared,
    }


def _loaded(
    source: str | Path | Mapping[str, Any] | None, changes: Mapping[str, Any], policy: PolicySource | None
) -> LoadedScenario:
    """The scenario; a policy that is compared stays for the whole run."""
    loaded = load(source, changes=changes)
    return loaded if policy is None else without_rollouts(loaded)


class _Variant(NamedTuple):
    """A scenario as it is compared: what was changed in it, and who routes, if not its own policy."""

    loaded: LoadedScenario
    changes: dict[str, Any]
    policy: PolicySource | None

    @property
    def asks(self) -> str:
        """What its requests depend on, beside the seed."""
        scenario = self.loaded.scenario
        fleet = scenario.fleet.model_dump_json() if isinstance(scenario, FleetScenario) else ""
        crowds = [spec.model_dump_json() for spec in scenario.controls if isinstance(spec, FlashCrowdSpec)]
        return "\n".join([scenario.workload.model_dump_json(), fleet, scenario.profiles or "", *crowds])


_DRAWN = ("workload.arrivals", "workload.prompt_tokens", "workload.output_tokens", "workload.duration_s")
_COUNTS = ("workload.requests", "workload.trace.requests", "workload.duration_s")


def _check_variations(
    vary: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any],
    policies: Sequence[PolicySource],
    *,
    trace: Path | None,
    requests: int | None,
) -> None:
    """Refuse what would compare a scenario with itself, or runs that do not share their seeds."""
    if not vary and not policies:
        raise UserError("nothing to compare", next_step="give --vary path=a,b, or --policy A --policy B")
    if policies and ("policy" in vary or "policy" in fixed):
        raise UserError("the policy is given twice", next_step="give policies in one way only")
    for n, policy in enumerate(policies):
        if policy in policies[:n]:
            raise UserError("a policy is compared with itself", got=policy)
    for path, values in vary.items():
        if isinstance(values, str) or not len(values):
            raise UserError("a variation needs a list of values", got=values, next_step=f"give {path}=value,value")
        if path == "seed":
            raise UserError("all variants share their seeds", got=path, next_step="give seeds=N instead")
        if path in fixed:
            raise UserError("a value is set and varied at once", got=path)
        if requests is not None and path in _COUNTS:
            raise UserError(f"requests={requests} overrides what is varied", got=path)
        if trace is not None and (path.startswith(_DRAWN) or path in ("workload.requests", "workload.trace.path")):
            raise UserError("the trace given overrides what is varied", got=path)


def _at(summary: Mapping[str, Any], path: str) -> float | None:
    value: Any = summary
    for part in path.split("."):
        value = value[part] if value is not None else None
    return None if value is None else float(value)


def _interval(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    return interval(known) if len(known) == len(values) and known else None
