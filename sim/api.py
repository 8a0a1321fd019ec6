"""The jobs of this room in one call each: what the command line and `import nearfar` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiles import Catalogue, UserError
from sim.compare import compare
from sim.deployment import deploy
from sim.loading import LoadedScenario, load, without_rollouts
from sim.predict import predict
from sim.predict_near import predict_near
from sim.results.analysis import Analysis
from sim.results.files import request_table, timeline_table, write_results
from sim.results.metrics import summarise, summarise_seeds
from sim.routing import PolicySource, located
from sim.run import Prepared, check_count, prepare, run
from sim.scenario import FleetScenario
from sim.workloads.workload import Workload

if TYPE_CHECKING:
    import pyarrow as pa

    from policies.learning.bandit import BanditSettings

__all__ = ["Simulation", "compare", "latency", "simulate"]


BASELINES = ("near", "far")
MOST_FOR_BASELINES = 200_000  # requests; beyond, running them too would take too long to do unasked


class Simulation:
    """A finished simulation. With several seeds, tables and files are those of the first."""

    def __init__(
        self,
        analysis: Analysis,
        others: Sequence[dict[str, Any]] = (),
        *,
        again: Callable[[str], Analysis] | None = None,
        bandit: dict[str, Any] | None = None,
    ) -> None:
        """`others` are the summaries of further seeds; `again` runs the same with another policy."""
        self.outcome = analysis.outcome
        self.bandit = bandit
        """With a bandit: what it learned and gained, beside the policy that it started from."""
        self._analysis = analysis
        self._others = tuple(others)
        self._again = again

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every figure of docs/metrics.md."""
        summary = _checked(self._analysis)
        if not self._others:
            return summary
        merged = summarise_seeds([summary, *self._others])
        headline = {key: merged[key] for key in ("verdict", "verdict_reason", "binding_constraint")}  # the worst
        return {**summary, **headline, "seeds": merged}

    @property
    def requests(self) -> pa.Table:
        """One row a request; docs/metrics.md describes the columns."""
        return request_table(self.outcome.plane)

    @property
    def timeline(self) -> pa.Table:
        """One row a time bin."""
        return timeline_table(self.outcome.plane, self._analysis.timeline)

    def write(self, folder: str | Path, *, baselines: Sequence[str] | None = None) -> None:
        """requests.parquet, timeline.parquet, summary.json, report.html and run.json. Raises `UserError`.

        With a fleet, the report draws quality against cost of this run and of `baselines`, which are run for it; by
        default near and far, unless there are more than 200,000 requests.
        """
        write_results(
            self.outcome,
            Path(folder),
            lambda: self.summary,
            analysis=self._analysis,
            baselines=self._baselines(baselines),
        )
        if self.bandit is not None:
            from sim.online_runs import write_bandit

            write_bandit(self.bandit, Path(folder))

    def _baselines(self, names: Sequence[str] | None) -> dict[str, dict[str, float]] | None:
        if self._again is None:
            return None
        if names is None:
            names = BASELINES if len(self.outcome.plane.requests) <= MOST_FOR_BASELINES else ()
        drawn = {}
        for name in names:
            if name != self.outcome.policy:
                analysis = self._again(name)
                figures = summarise(analysis.outcome, analysis)
                drawn[name] = {key: figures[key] for key in ("quality_mean", "cost_usd_per_1k_requests")}
        return drawn or None


def simulate(
    scenario: str | Path | Mapping[str, Any] | None = None,
    *,
    trace: str | Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    seed: int | None = None,
    seeds: int = 1,
    set: Mapping[str, Any] | None = None,
    controls: Sequence[Callable[..., Any]] = (),
    policy: PolicySource | None = None,
    workload: Workload | None = None,
    decisions: str | Path | None = None,
    explore: float | None = None,
    bandit: bool | BanditSettings = False,
    utility: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Simulate a scenario: a YAML file, a mapping, or the built-in one.

    `trace` replaces the scenario's arrivals and lengths; `requests` takes that many; `time_scale`
    multiplies the trace's stamps; `set` changes values by dotted
    path; `seeds` repeats with seed, seed + 1, ... and adds intervals; `controls` are SimPy processes over the world;
    `policy` routes the requests of a fleet (a built-in's name, a YAML file, `FILE.py:FUNCTION`, a mapping or a
    function), or is the function of a pool whose balancer is `python`. Paths are relative to the working folder.
    `decisions` is a Parquet file for every decision of a fleet, of which a share `explore` is drawn from all that is
    possible; `bandit` lets one learn the `utility` (such as "quality=1,e2e_s=-0.02") while it routes. Raises
    `UserError`.
    """
    check_count("seeds", seeds)
    online = None
    if decisions is not None or explore is not None or bandit or utility is not None:
        from sim.online_runs import online_of, run_online

        online = online_of(decisions=decisions, explore=explore, bandit=bandit, utility=utility, seeds=seeds)
    if seed is not None:
        check_count("seed", seed, least=0, most=2**63 - 1)
    loaded = load(scenario, changes=set)
    first = loaded.scenario.seed if seed is None else seed

    def prepared(k: int, policy: PolicySource | None, scenario: LoadedScenario = loaded) -> Prepared:
        return prepare(
            scenario,
            seed=first + k,
            trace=None if trace is None else Path(trace),
            requests=requests,
            time_scale=time_scale,
            controls=controls,
            policy=located(policy),
            workload=workload,
            progress=progress,
        )

    def ready(k: int, policy: PolicySource | None, scenario: LoadedScenario = loaded) -> Analysis:
        return Analysis(run(prepared(k, policy, scenario), progress=progress))

    learned = None
    if online is None:
        analysis = ready(0, policy)
    else:
        outcome, learned = run_online(lambda: prepared(0, policy), online, progress=progress)
        analysis = Analysis(outcome)
    others = [_checked(ready(k, policy)) for k in range(1, seeds)]
    is_fleet = isinstance(loaded.scenario, FleetScenario)
    again = (lambda name: ready(0, name, without_rollouts(loaded))) if is_fleet else None
    return Simulation(analysis, others, again=again, bandit=learned)


def _checked(analysis: Analysis) -> dict[str, Any]:
    """The summary; a broken invariant, which would be a mistake of the engine, is told on stderr, too."""
    summary = summarise(analysis.outcome, analysis)
    for name in summary["broken_invariants"]:
        print(f"nearfar: warning: invariant {name!r} is broken; please report this scenario", file=sys.stderr)
    return summary


def latency(
    *,
    model: str,
    prompt: int,
    output: int,
    accelerator: str | None = None,
    device: str | None = None,
    technique: str | None = None,
    batch: int = 1,
    context: int | None = None,
    precision: str | None = None,
    kv_precision: str | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    expert_parallel: bool = False,
    engine: str | None = None,
    max_num_batched_tokens: int = 2048,
    profiles: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Latency, energy and memory without queues: of one deployment on an `accelerator` (see `sim.predict.predict`), or
    of one request on a `device` (see `sim.predict_near.predict_near`; batch, parallelism and the like do not apply).

    `set` changes facts by path, such as `accelerator.bandwidth_gb_s` or `engine.host_step_us`. Raises `UserError`.
    """
    catalogue = Catalogue(None if profiles is None else Path(profiles))
    if (accelerator is None) == (device is None):
        raise UserError("give an accelerator or a device, one of them", got=accelerator and (accelerator, device))
    if device is not None:
        if set:
            raise UserError("facts of a device are changed in a file of one's own", got=", ".join(set))
        given = (
            batch,
            context,
            kv_precision,
            tensor_parallel,
            pipeline_parallel,
            expert_parallel,
            max_num_batched_tokens,
        )
        if given != (1, None, None, 1, 1, False, 2048):
            raise UserError(
                "a device answers one request at a time, on one engine",
                next_step="leave out batch, context, kv_precision, parallelism and max_num_batched_tokens",
            )
        return predict_near(
            catalogue,
            device=device,
            model=model,
            prompt_tokens=prompt,
            output_tokens=output,
            precision=precision,
            engine=engine,
            technique=technique,
        )
    if technique is not None:
        raise UserError("a technique is for a device", got=technique, next_step="give device")
    assert accelerator is not None
    deployment = deploy(
        catalogue,
        model=model,
        accelerator=accelerator,
        precision=precision,
        kv_precision=kv_precision,
        engine=engine or "vllm",
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        expert_parallel=expert_parallel,
        changes=set,
    )
    return predict(
        deployment,
        prompt_tokens=prompt,
        output_tokens=output,
        batch=batch,
        context_tokens=context,
        max_num_batched_tokens=max_num_batched_tokens,
    )
