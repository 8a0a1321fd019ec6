"""Every figure that nearfar writes, defined once: name, unit, type, meaning.

The Parquet schemas and docs/metrics.md are made from these tables:

    python -m sim.results.columns > docs/metrics.md
"""

from __future__ import annotations

from sim.results.column import Column, columns_markdown
from sim.results.fleet_columns import FLEET_REQUESTS, FLEET_SUMMARY, FLEET_TIMELINE, GROUP, POOL

__all__ = ["REQUESTS", "SUMMARY", "SYMBOLS", "TIMELINE", "VOLATILE", "Column", "metrics_markdown"]

SYMBOLS: tuple[tuple[str, str], ...] = (
    ("a", "arrival: the instant at which the request reaches the door of the pool or, with a fleet, is asked"),
    ("s", "scheduled: the instant of composing at which its last replica first admitted it (rule A1)"),
    ("f", "first token: the end of the step that gave its first output token"),
    ("e", "end: the instant at which it became completed, rejected, abandoned or failed"),
    ("P, O", "prompt and output tokens that it asked for; a completed request got all O"),
    ("T", "span: from instant 0 to the last end of any request"),
)

REQUESTS: tuple[Column, ...] = (
    Column("id", "", "int64", "Position in the workload, from 0"),
    Column("arrival_s", "s", "double", "a"),
    Column("scheduled_s", "s", "double", "s; null when it was never admitted"),
    Column("first_token_s", "s", "double", "f; null when it got no token"),
    Column("finish_s", "s", "double", "e"),
    Column("ttft_s", "s", "double", "Time to first token, f − a; null when it got no token"),
    Column("tpot_s", "s", "double", "Time per output token, (e − f) / (O − 1); completed requests with O > "
           "1, else null"),
    Column("e2e_s", "s", "double", "End to end, e − a; completed requests, else null"),
    Column("queue_s", "s", "double", "Queueing time, s − a; null when it was never admitted"),
    Column("state", "", "category", "completed, rejected, abandoned or failed"),
    Column("reason", "", "category", "Why it was not completed; null when it was"),
    Column("replica", "", "int32", "The last replica it was sent to, from 0; null when none"),
    Column("prompt_tokens", "tokens", "int32", "P"),
    Column("output_tokens", "tokens", "int32", "O"),
    Column("cached_tokens", "tokens", "int32", "Prefix-cache hit at its admission"),
    Column("preemptions", "", "int32", "Times it was preempted"),
    Column("attempts", "", "int32", "Dispatches after the first, because a replica failed"),
    Column("priority", "", "int32", "Priority class, 0 the most urgent"),
    Column("session", "", "int64", "Its session; null when it has none"),
    Column("energy_j", "J", "double", "Its share of the energy of the steps it was in (rule A2), without "
           "idle and PUE"),
)  # fmt: skip

TIMELINE: tuple[Column, ...] = (
    Column("t_s", "s", "double", "Left edge of the bin"),
    Column("width_s", "s", "double", "Width of the bin; the last one ends with the run"),
    Column("arrivals", "", "int64", "Requests that arrived"),
    Column("completions", "", "int64", "Requests that completed"),
    Column("lost", "", "int64", "Requests that were rejected, abandoned or failed"),
    Column("in_system", "", "double", "Mean number of requests between a and e"),
    Column("running", "", "double", "Mean number between s and e; a preempted request counts as running"),
    Column("waiting", "", "double", "Mean number between a and s (or e, when never admitted)"),
    Column("busy_share", "", "double", "Busy time of the replicas / (replicas × width)"),
    Column("kv_share", "", "double", "Mean KV blocks in use during steps / KV blocks of all replicas"),
    Column("steps", "", "int64", "Steps that ended"),
    Column("output_tokens", "tokens", "double", "Output tokens of completed requests: the first at f, the "
           "rest evenly to e"),
)  # fmt: skip

_TIMES = "{mean, p50, p90, p95, p99}, or null when nobody qualifies"

SUMMARY: tuple[Column, ...] = (
    Column("verdict", "", "text", "OK, TIGHT or OVERLOADED; see below"),
    Column("verdict_reason", "", "text", "What speaks for the verdict, in words"),
    Column("binding_constraint", "", "text", "compute, kv_blocks, max_num_seqs, max_num_batched_tokens, "
           "queue_limit, context_limit, failures or none; of a fleet also devices, battery and no_target"),
    Column("headroom", "", "double", "1 − the largest of: slots and KV blocks in use in the busiest stretch, "
           "offered_rps / capacity_rps, the share of busy time in which requests waited; 0 when OVERLOADED or SLO "
           "attainment is below 99 %"),
    Column("deployment", "", "text", "Name of the deployment"),
    Column("replica_count", "", "int64", "Replicas in the pool"),
    Column("accelerators", "", "int64", "Accelerators in the pool: replicas × accelerators of one"),
    Column("requests", "", "int64", "Requests that arrived = completed + rejected + abandoned + failed"),
    Column("completed", "", "int64", "Answered"),
    Column("rejected", "", "int64", "Refused at the door"),
    Column("abandoned", "", "int64", "The user's patience or a deadline ran out"),
    Column("failed", "", "int64", "No replica was up, or the replica died after the first token"),
    Column("rejected_by", "", "object", "Rejected requests by reason: too_long, exceeds_kv, queue_full"),
    Column("abandoned_by", "", "object", "Abandoned requests by reason: patience, deadline"),
    Column("failed_by", "", "object", "Failed requests by reason: no_replica, replica_lost; with a fleet also "
           "device_off (empty battery), no_target, device_lost"),
    Column("trimmed", "", "int64", "Requests that arrived during the warm-up: counted above, left out of "
           "latencies, goodput and SLO attainment"),
    Column("span_s", "s", "double", "T"),
    Column("ttft_s", "s", "object", f"f − a; {_TIMES}"),
    Column("tpot_s", "s", "object", f"(e − f) / (O − 1) where O > 1; {_TIMES}"),
    Column("e2e_s", "s", "object", f"e − a; {_TIMES}"),
    Column("queue_s", "s", "object", f"s − a; {_TIMES}"),
    Column("slo", "", "object", "The limits: ttft_s, tpot_s, e2e_s; null where there is none"),
    Column("slo_attainment", "", "double", "Requests that completed and met every limit / requests that "
           "arrived (lost ones are misses), after the warm-up; null without an SLO. O = 1 meets any TPOT"),
    Column("slo_attainment_by", "", "object", "The same for each limit that is given, by its name"),
    Column("capacity_rps", "1/s", "double", "Requests/s that the pool could serve at most, were they all like the mean "
           "of those it got: the best batch that slots, KV blocks, budget and the limit on TPOT allow"),
    Column("goodput_rps", "1/s", "double", "Requests that completed and met every limit / (T − warm-up); "
           "without an SLO every completed one counts"),
    Column("served_rps", "1/s", "double", "Completed requests / T"),
    Column("throughput_tok_s", "tokens/s", "double", "Output tokens of completed requests / T"),
    Column("prompt_tok_s", "tokens/s", "double", "Prompt tokens of completed requests, cached ones included "
           "/ T"),
    Column("gpu_utilization", "", "double", "Busy time / up time of the replicas in [0, T]. No measure of "
           "load: see below"),
    Column("kv_utilization", "", "double", "KV blocks in use, averaged over [0, T] / KV blocks of the pool"),
    Column("prefix_hit_rate", "", "double", "Cached tokens / prompt tokens of admitted requests; null when "
           "none was"),
    Column("preemptions", "", "int64", "Preemptions on all replicas"),
    Column("blocked_s", "s", "object", "Step time during which requests waited for kv, seqs or tokens (rule "
           "C8)"),
    Column("energy_j", "J", "double", "(energy of the steps + idle watts × accelerators × (up time − busy "
           "time)) × PUE"),
    Column("energy_j_per_request", "J", "double", "energy_j / completed; null when none was"),
    Column("cost_usd", "USD", "double", "Seconds for which replicas are paid × price of a replica (its accelerators × "
           "their price); a replica that is down is paid for, one that was retired is not (rule X5)"),
    Column("cost_usd_per_1k_requests", "USD", "double", "1000 × cost_usd / completed; null when none was"),
    Column("steps", "", "int64", "Steps begun on all replicas"),
    Column("replicas", "", "list", "For each replica: busy_share (of its up time), steps, preemptions, "
           "max_running, max_waiting, down_s"),
    Column("confidence", "", "text", "The weakest confidence among the facts of the deployment"),
    Column("assumed", "", "list", "Names of the facts that are stated guesses"),
    Column("seed", "", "int64", "Seed of the run"),
    Column("workload", "", "text", "Kind of the workload"),
    Column("offered_rps", "1/s", "double", "Arrivals by the time over which they came"),
    Column("prompt_tokens_mean", "tokens", "double", "Of all requests"),
    Column("output_tokens_mean", "tokens", "double", "Of all requests"),
    Column("workload_sha256", "", "text", "Digest of the trace file; null when the workload was generated"),
    Column("rows_read", "", "int64", "Rows read from a trace; 0 for a generator"),
    Column("requests_emitted", "", "int64", "Requests that the workload's source emitted"),
    Column("dropped", "", "int64", "Rows of the trace that became no request"),
    Column("dropped_by", "", "object", "Dropped rows by reason"),
    Column("notes", "", "list", "What reading or making the workload assumed or repaired"),
    Column("broken_invariants", "", "list", "Names of the invariants that the run broke; should be empty"),
    Column("wall_s", "s", "double", "Wall time of the run"),
    Column("engine_s", "s", "double", "Wall time inside the engine"),
    Column("requests_per_s", "1/s", "double", "Requests simulated per second of engine_s"),
)  # fmt: skip

VOLATILE = ("wall_s", "engine_s", "requests_per_s")
"""Keys that differ between two runs of the same seed: they are written to run.json only."""

_VERDICT = """\
## The verdict

A GPU that serves a single request is busy all the time: with continuous batching, busy time is no load. The
verdict asks what runs out (slots, KV blocks, tokens of a step), who waits, and who is lost. Resources are
looked at in the busiest stretch, the 5 % of the run with the largest mean.

**OVERLOADED**: the pool does not carry the workload, because at least one of these holds.

- The mean number of waiting requests in the last third of the arrivals exceeds that in the first third by
  more than 2·√requests (a queue in balance wanders by about √requests) and by more than 1 % of the
  requests.
- More than 2·√requests requests still waited at the last arrival, and the drain after it took more than
  three times the 99th percentile of e − s.
- More than 1 % of the requests were turned away by a full queue, or more than 1 % were lost to patience or
  deadline.
- More than 10 % were too long for the deployment, or more than 10 % were lost to failures.
- SLO attainment is below 90 %.

**TIGHT**: it does, without room to spare.

- SLO attainment is below 99 %.
- More than 0.1 % were lost to a full queue, or to patience and deadline; more than 1 % were too long, or
  failed.
- Requests waited for slots, KV blocks or tokens (`blocked_s`) during more than 5 % of the busy time.
- Preemptions exceed 1 % of the requests.
- In the busiest stretch, running requests filled more than 85 % of the slots (`max_num_seqs`, or
  `max_outstanding` when that is smaller), or KV blocks in use more than 85 % of all; or the requests
  offered (`offered_rps`) were more than 85 % of the capacity (`capacity_rps`).

**OK**: none of these.

With a fleet each pool is judged by the requests that it got, from the instant at which their legs were sent, and the
devices by the requests that no pool got: losses to an empty battery or for want of any target count as failures do.
The verdict is the worst of all, the reason names the pool. Requests have the limits of their tasks when the scenario
gives none.

The *binding constraint* is what the first of the reasons is due to. For waiting: the resource that most of
the blocked time was spent for, or, when blocked time is small, the fullest one. Waiting for tokens is
*compute* when a full step takes at least 1.5 times as long as a half-full one (a larger budget would not
help) and *max_num_batched_tokens* when not. A full queue in front of idle resources is *queue_limit*; a
missed SLO with nothing short is *compute*: the steps take too long.
"""


def metrics_markdown() -> str:
    """The text of docs/metrics.md."""
    symbols = "\n".join(f"| {symbol} | {meaning} |" for symbol, meaning in SYMBOLS)
    return f"""# Metrics

Made from `sim/results/columns.py` by `python -m sim.results.columns`; edit there.

## Symbols

Of one request r:

| symbol | meaning |
|---|---|
{symbols}

## summary.json

Latencies are those of completed requests that arrived after the warm-up; percentiles interpolate
linearly between order statistics.

`wall_s`, `engine_s` and `requests_per_s` differ from run to run and are written to run.json instead. Over
several seeds every number becomes {{mean, low, high}}, its mean and its 95 % confidence interval (Student's
t; null with one seed), and the verdict becomes the worst one.

{columns_markdown(SUMMARY)}

{_VERDICT}
## Fleets

A run with a fleet has these keys, too. Requests belong to the pool that their last leg reached.

{columns_markdown(FLEET_SUMMARY)}

Each entry of `by_tier`, `by_device` and `by_task`:

{columns_markdown(GROUP)}

Each entry of `pools`; utilizations, cost and energy are those of the summary, of this pool alone:

{columns_markdown(POOL)}

## requests.parquet

One row a request, in order of id.

{columns_markdown(REQUESTS)}

With a fleet:

{columns_markdown(FLEET_REQUESTS)}

## timeline.parquet

At most 512 bins of equal width, a power of two seconds. A step counts in the bin in which it ends; the busy
time that does not fit there, in the bins before.

{columns_markdown(TIMELINE)}

With a fleet:

{columns_markdown(FLEET_TIMELINE)}
"""


if __name__ == "__main__":
    print(metrics_markdown(), end="")
