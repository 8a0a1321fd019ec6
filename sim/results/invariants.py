"""What must hold in every run, numbered; docs/invariants.md is made from this table:

    python -m sim.results.invariants > docs/invariants.md

Each is checked on the arrays of a finished run, by arithmetic that the engine does not use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REASONS, REJECTED, REPLICA_LOST
from sim.results.answers import AT_NEAR, Answers, answers_of
from sim.results.devices import hub_energy_j
from sim.results.findings import RELATIVE, Finding, Invariant, Run, close
from sim.results.fleet_invariants import FLEET_INVARIANTS
from sim.results.outcome import Outcome
from sim.results.parts import parts
from sim.results.replicas import busy_seconds, up_seconds
from sim.results.timeline import Timeline, build_timeline, span_of

__all__ = ["INVARIANTS", "Invariant", "check_invariants", "invariants_markdown"]


def check_invariants(
    outcome: Outcome, timeline: Timeline | None = None, answers: Answers | None = None
) -> list[dict[str, Any]]:
    """Every invariant that a run can show, checked: dicts of number, name, holds and detail (a sentence).

    `timeline` and `answers` save working them out again.
    """
    plane = outcome.plane
    if answers is None and plane.fleet is not None:
        answers = answers_of(plane)
    run = Run(plane, timeline or build_timeline(plane, answers), answers)
    report = []
    for invariant in INVARIANTS:
        if invariant.check is not None and (plane.fleet is not None or not invariant.of_fleets):
            holds, detail = invariant.check(run)
            report.append({"number": invariant.number, "name": invariant.name, "holds": bool(holds), "detail": detail})
    return report


def _flow(run: Run) -> Finding:
    states = np.bincount(run.plane.requests["status"], minlength=max(_STATES.values()) + 1)
    ended = {name: int(states[state]) for name, state in _STATES.items()}
    count = len(run.plane.requests)
    missing = count - sum(ended.values())
    parts_of = " + ".join(f"{number:,} {name}" for name, number in ended.items())
    return missing == 0, f"{count:,} arrived = {parts_of} + {missing:,} in flight"


_SHORTEST_S = 1e-12  # of a run whose timeline means anything
_STATES = {"completed": COMPLETED, "rejected": REJECTED, "abandoned": ABANDONED, "failed": FAILED}


def _causality(run: Run) -> Finding:
    wrong = 0
    for part in parts(len(run.plane.requests)):
        r = run.plane.requests[part]
        arrival, scheduled, first, finish = (r[name] for name in ("arrival", "scheduled", "first_token", "finish"))
        was_scheduled, has_first = ~np.isnan(scheduled), ~np.isnan(first)
        released = np.zeros(len(r), np.bool_)
        if run.answers is not None:  # a near answer that was held back has no admission of its own (rule W6)
            released = (run.answers.tier[part] == AT_NEAR) & (run.plane.trips["escalated"][part] != 0)
        bad = (r["status"] == COMPLETED) & ~((was_scheduled | released) & has_first)
        bad |= np.isnan(finish) | ~(arrival <= finish)
        bad |= was_scheduled & ~((arrival <= scheduled) & (scheduled <= finish))
        bad |= has_first & ~(((scheduled < first) | (released & (arrival <= first))) & (first <= finish))
        wrong += int(np.count_nonzero(bad))
    count = len(run.plane.requests)
    return wrong == 0, f"{count - wrong:,} of {count:,} requests in order"


def _kv(run: Run) -> Finding:
    holds, resting, replicas, total = True, 0, 0, 0
    for pool in run.plane.pools:
        rows, blocks = pool.replicas, pool.pool.engine.kv_blocks
        at_rest = rows["running"] == 0
        holds &= bool(np.all(rows["free"][at_rest] == blocks))
        holds &= bool(np.all((rows["free"] >= 0) & (rows["free"] <= blocks)))
        holds &= bool(np.all(rows["kv_block_s"] <= blocks * rows["busy_s"] * (1.0 + RELATIVE)))
        resting += int(np.count_nonzero(at_rest))
        replicas, total = replicas + len(rows), total + blocks * len(rows)
    return (
        holds,
        f"{total:,} blocks; all free on {resting} of {replicas} replicas at the end"
        + ("" if resting == replicas else "; the others still ran a step for abandoned requests"),
    )


def _energy(run: Run) -> Finding:
    booked = float(sum(pool.replicas["energy_j"].sum() for pool in run.plane.pools))
    requests = run.plane.requests
    charged = float(requests["energy"].sum())
    detail = f"replicas {booked:.9g} J, requests {charged:.9g} J"
    if run.plane.fleet is not None:
        hubs = hub_energy_j(run.plane)
        booked, detail = booked + hubs, f"{detail}, of which hubs {hubs:.9g} J"
    cut = np.any(requests["attempts"] > 0) or np.any(requests["reason"] == REPLICA_LOST)
    unfinished = any(np.any(pool.replicas["running"] > 0) for pool in run.plane.pools)
    if cut or unfinished:  # sequences are charged when they leave the batch in good order
        return charged <= booked * (1.0 + RELATIVE), detail + "; the rest was for lost or abandoned requests"
    return close(booked, charged), detail


def _busy(run: Run) -> Finding:
    span_s, busy_s, up_s, holds = span_of(run.plane.requests), 0.0, 0.0, True
    for pool in run.plane.pools:
        busy, up = busy_seconds(pool.replicas, span_s), up_seconds(pool.replicas, span_s)
        holds &= bool(np.all(busy <= up * (1.0 + RELATIVE) + 1e-9))
        busy_s, up_s = busy_s + float(busy.sum()), up_s + float(up.sum())
    return holds, f"busy {busy_s:.6g} s of {up_s:.6g} s up"


def _little(run: Run) -> Finding:
    r, span_s = run.plane.requests, span_of(run.plane.requests)
    if span_s < _SHORTEST_S:
        return True, "nothing took any time that a timeline could show"
    timeline = run.timeline
    number = float((timeline.in_system * timeline.width_s).sum()) / span_s
    law = len(r) / span_s * float((r["finish"] - r["arrival"]).mean())
    return close(number, law), f"mean number in system {number:.9g}, arrival rate x mean time {law:.9g}"


def _work(run: Run) -> Finding:
    """Time with a waiting request, by replica, is busy time."""
    if run.plane.fleet is not None:
        return True, "when a leg lands is not kept: with a fleet only the parity test shows it"
    pool, r, span_s = run.plane.pools[0], run.plane.requests, span_of(run.plane.requests)
    replicas = pool.replicas
    end = np.where(np.isnan(r["scheduled"]), r["finish"], r["scheduled"])
    waited = np.flatnonzero((r["attempts"] == 0) & (r["replica"] >= 0) & (end > r["arrival"]))
    where = r["replica"][waited]
    # replicas one after the other on a common axis: a running maximum cannot reach from one to the next
    start, end = r["arrival"][waited] + where * (2.0 * span_s), end[waited] + where * (2.0 * span_s)
    order = np.argsort(start, kind="stable")
    start, end, where = start[order], end[order], where[order]
    reached = np.concatenate(([-np.inf], np.maximum.accumulate(end)[:-1])) if len(end) else end
    waiting = np.bincount(where, np.maximum(0.0, end - np.maximum(start, reached)), len(replicas))
    busy = busy_seconds(replicas, span_s)
    again = (replicas["off"] != 0) | (replicas["down_s"] > 0.0)  # started, perhaps more than once
    cold_s = np.where(again & (pool.pool.cold_start_s > 0.0), np.inf, pool.pool.cold_start_s)
    holds = bool(np.all(waiting <= busy + cold_s + 1e-6 * max(1.0, span_s)))
    return holds, f"somebody waited for {waiting.sum():.6g} s of {busy.sum():.6g} s busy"


def _tokens(run: Run) -> Finding:
    answers, need_prefill, need_decode = run.answers, 0, 0
    undisturbed = not any(pool.replicas["preemptions"].any() for pool in run.plane.pools)
    for part in parts(len(run.plane.requests)):
        r = run.plane.requests[part]
        status = np.ascontiguousarray(r["status"])
        by_pool = status == COMPLETED
        lost = (status == ABANDONED) | (status == FAILED) | (r["attempts"] > 0)
        if answers is not None:
            tier, reached = answers.tier[part], answers.pool[part] >= 0
            by_pool &= (tier != AT_NEAR) & reached
            lost = (r["attempts"] > 0) | (reached & ~by_pool)
        undisturbed &= not lost.any()
        need_prefill += int((r["prompt"] - r["cached"])[by_pool].sum(dtype=np.int64))
        need_decode += int((r["output"] - r["preemptions"] - 1)[by_pool].sum(dtype=np.int64))
    prefill, decode = (
        int(sum(pool.replicas[name].sum() for pool in run.plane.pools)) for name in ("prefill_tokens", "decode_tokens")
    )
    holds, sign = prefill >= need_prefill and decode >= need_decode, ">="
    if undisturbed:
        holds, sign = prefill == need_prefill and decode == need_decode, "="
    return holds, f"prefill {prefill:,} {sign} {need_prefill:,}; decode {decode:,} {sign} {need_decode:,}"


def _timers(run: Run) -> Finding:
    wrong = impatient = late = 0
    for part in parts(len(run.plane.requests)):
        r = run.plane.requests[part]
        reason, finish, arrival, first = (r[name] for name in ("reason", "finish", "arrival", "first_token"))
        patience, deadline = arrival + r["patience"], arrival + r["deadline"]
        no_patience, no_time = reason == REASONS.index("patience"), reason == REASONS.index("deadline")
        bad = no_patience & ((finish != patience) | ~np.isnan(first))
        bad |= no_time & (finish != deadline)
        bad |= (r["status"] == COMPLETED) & ((finish > deadline) | (first > patience))
        wrong += int(np.count_nonzero(bad))
        impatient += int(np.count_nonzero(no_patience))
        late += int(np.count_nonzero(no_time))
    return wrong == 0, f"{impatient:,} ran out of patience, {late:,} of time"


def _chains(run: Run) -> Finding:
    r, workload = run.plane.requests, run.plane.workload
    follows = np.flatnonzero(workload.after >= 0)
    expected = r["finish"][workload.after[follows]] + workload.arrival_s[follows]
    wrong = int(np.count_nonzero(r["arrival"][follows] != expected))
    return wrong == 0, f"{len(follows) - wrong:,} of {len(follows):,} followed their predecessor"


def _timeline(run: Run) -> Finding:
    timeline, count, completed, tokens = run.timeline, len(run.plane.requests), 0, 0
    for part in parts(count):
        r = run.plane.requests[part]
        done = r["status"] == COMPLETED
        completed += int(np.count_nonzero(done))
        tokens += int(r["output"][done].sum(dtype=np.int64))
    ended = int(timeline.completions.sum()), int(timeline.lost.sum())
    holds = int(timeline.arrivals.sum()) == count and ended == (completed, count - completed)
    holds &= abs(float(timeline.output_tokens.sum()) - tokens) <= 1e-6 * (tokens + len(timeline.t_s))
    if timeline.answered_by is not None:
        holds &= sum(int(arrivals.sum()) for arrivals in timeline.answered_by.values()) == count
    return holds, f"{len(timeline.t_s)} bins hold {count:,} arrivals and {tokens:,} output tokens"


_METRICS = "tests/test_metrics.py"

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(1, "flow conservation", "requests = completed + rejected + abandoned + failed + in flight, "
              "and at the end of a run nothing is in flight.", f"{_METRICS}::test_every_request_ends_once",
              _flow),
    Invariant(2, "causality", "arrival <= scheduled < first token <= finish, as far as each happened; a "
              "completed request has all four.", f"{_METRICS}::test_invariants_hold", _causality),
    Invariant(3, "KV capacity", "No replica ever uses more KV blocks than it has, and a replica that runs "
              "nothing has all of them free.", f"{_METRICS}::test_invariants_hold", _kv),
    Invariant(4, "energy", "The energy booked by the replicas is the energy charged to requests (1e-9 "
              "relative); what a failed replica was executing may be charged to nobody.",
              f"{_METRICS}::test_invariants_hold", _energy),
    Invariant(5, "busy time", "A replica is busy no longer than it is up.",
              f"{_METRICS}::test_invariants_hold", _busy),
    Invariant(6, "Little's law", "From empty to empty, the time-averaged number in the system (summed over "
              "the timeline) is the arrival rate times the mean time in it (1e-9 relative).",
              f"{_METRICS}::test_invariants_hold", _little),
    Invariant(7, "work conservation", "While a request waits at a replica, the replica executes a step or is about to "
              "begin its very first one (rule S5).",
              f"{_METRICS}::test_invariants_hold", _work),
    Invariant(8, "tokens", "Every completed request had its uncached prompt tokens prefilled and its output "
              "tokens after the first decoded (a preemption may turn one decode into a prefill); without "
              "preemptions, losses and failures nothing else was computed.",
              f"{_METRICS}::test_invariants_hold", _tokens),
    Invariant(9, "timers", "Patience ends a request exactly at arrival + patience and only before its first "
              "token, a deadline exactly at arrival + deadline; what happens at the same instant as a "
              "timer happens before it.", f"{_METRICS}::test_invariants_hold", _timers),
    Invariant(10, "chains", "A request that follows another arrives exactly its think time after that one "
              "ended.", f"{_METRICS}::test_invariants_hold", _chains),
    Invariant(11, "timeline", "The bins of the timeline hold every arrival, every end and every output "
              "token once.", f"{_METRICS}::test_invariants_hold", _timeline),
    Invariant(12, "same seed, same bytes", "Two runs of one scenario and seed write the same bytes.",
              "tests/test_results.py::test_two_processes_write_the_same_bytes", None),
    *FLEET_INVARIANTS,
)  # fmt: skip


def invariants_markdown() -> str:
    """The text of docs/invariants.md."""
    rows = "\n".join(f"| {i.number} | {i.name} | {i.statement} | `{i.test}` |" for i in INVARIANTS)
    return f"""# Invariants

Made from `sim/results/invariants.py` by `python -m sim.results.invariants`; edit there. All but those that one
run cannot show are checked on every run, and the report shows the result.

| number | name | statement | test |
|---|---|---|---|
{rows}
"""


if __name__ == "__main__":
    print(invariants_markdown(), end="")
