"""Synthetic workloads: their statistics, their structure, and that the same seed gives the same arrays."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from profiles.errors import UserError
from sim.workloads.distributions import Lengths
from sim.workloads.draws import draw_lengths
from sim.workloads.generators import build_workload, stream
from sim.workloads.spec import WorkloadSpec
from sim.workloads.workload import Workload

HERE = Path()
POISSON = {"kind": "poisson", "rate_rps": 5}
SESSIONS = {
    "kind": "sessions",
    "rate_rps": 2,
    "turns": {"kind": "geometric", "mean": 4},
    "think_s": {"kind": "exponential", "mean": 3},
    "system_tokens": 700,
    "name_unit_tokens": 64,
}
ARRIVALS: dict[str, dict[str, Any]] = {
    "poisson": POISSON,
    "gamma": {"kind": "gamma", "rate_rps": 5, "cv": 2},
    "weibull": {"kind": "weibull", "rate_rps": 5, "shape": 0.7},
    "diurnal": {"kind": "diurnal", "rate_rps": 5, "peak_to_trough": 3, "period_s": 600},
    "closed-loop": {"kind": "closed-loop", "clients": 7, "think_s": {"kind": "exponential", "mean": 2}},
    "sessions": SESSIONS,
}
OPEN = ("poisson", "gamma", "weibull", "diurnal")


def spec(arrivals: dict[str, Any] = POISSON, **others: Any) -> WorkloadSpec:
    settings_ = {"prompt_tokens": {"kind": "lognormal", "mean": 300, "cv": 1}, "output_tokens": 50, **others}
    if "duration_s" not in settings_:
        settings_.setdefault("requests", 1000)
    return WorkloadSpec.model_validate({"arrivals": arrivals, **settings_})


def build(arrivals: dict[str, Any] = POISSON, *, seed: int = 1, **others: Any) -> Workload:
    return build_workload(spec(arrivals, **others), seed=seed, base_folder=HERE)


def digest(workload: Workload) -> str:
    sha = hashlib.sha256()
    for field in fields(workload):
        value = getattr(workload, field.name)
        sha.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return sha.hexdigest()


def names_of(workload: Workload, request: int) -> list[int]:
    count = -(-int(workload.named_tokens[request]) // workload.name_unit_tokens)
    start = int(workload.name_start[request])
    assert start + count <= len(workload.name_ids)
    return workload.name_ids[start : start + count].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ARRIVALS)
def test_every_workload_keeps_the_contract(kind: str) -> None:
    workload = build(ARRIVALS[kind], priority={"weights": {0: 0.2, 7: 0.8}}, patience_s=30)
    n = len(workload)
    assert n == 1000
    for field in fields(workload):
        value = getattr(workload, field.name)
        if isinstance(value, np.ndarray) and field.name != "name_ids":
            assert value.shape == (n,)
            assert value.dtype == (np.float64 if field.name.endswith("_s") else np.int64), field.name
    starts = workload.after == -1
    assert (np.diff(workload.arrival_s[starts]) >= 0).all()
    assert (workload.arrival_s >= 0).all()
    assert (workload.after < np.arange(n)).all()
    chained = workload.after[~starts]
    assert len(np.unique(chained)) == len(chained)
    assert workload.prompt_tokens.min() >= 1
    assert set(workload.priority) == {0, 7}
    assert workload.deadline_s.tolist() == [math.inf] * n
    assert workload.provenance.kind == kind
    assert workload.provenance.rows_emitted == n


@pytest.mark.parametrize("kind", OPEN)
def test_the_mean_rate_is_the_rate(kind: str) -> None:
    n = 100_000
    times = build(ARRIVALS[kind], requests=n).arrival_s
    cv = {"gamma": 2.0, "weibull": 1.462}.get(kind, 1.0)  # weibull 0.7: sqrt(gamma(1+2/k)/gamma(1+1/k)^2 - 1)
    assert times[-1] == pytest.approx(n / 5, abs=4 * cv * math.sqrt(n) / 5)


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        (POISSON, 1.0),
        ({"kind": "gamma", "rate_rps": 5, "cv": 2}, 2.0),
        ({"kind": "gamma", "rate_rps": 5, "shape": 16}, 0.25),
        ({"kind": "weibull", "rate_rps": 5, "shape": 2}, math.sqrt(4 / math.pi - 1)),
    ],
)
def test_the_spread_of_gaps(arrivals: dict[str, Any], cv: float) -> None:
    gaps = np.diff(build(arrivals, requests=100_000).arrival_s)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.04)


@pytest.mark.parametrize("kind", OPEN)
def test_duration_ends_where_the_longer_workload_goes_on(kind: str) -> None:
    many = build(ARRIVALS[kind], requests=100_000).arrival_s
    until = build(ARRIVALS[kind], requests=None, duration_s=3000).arrival_s
    assert until[-1] <= 3000
    assert abs(len(until) - 15_000) < 4 * 2 * math.sqrt(15_000)
    np.testing.assert_allclose(until, many[: len(until)], rtol=1e-12)
    assert many[len(until)] > 3000


def test_diurnal_shape() -> None:
    """Counts by tenth of a period against the integral of the rate, each within 4 sigma."""
    period, periods, amplitude, phase = 1000.0, 40, 0.5, 0.25
    arrivals = {"kind": "diurnal", "rate_rps": 5, "amplitude": amplitude, "period_s": period, "phase": phase}
    times = build(arrivals, requests=None, duration_s=period * periods).arrival_s
    edges = np.linspace(0, period, 11)
    counts = np.histogram(times % period, edges)[0]
    angle = 2 * np.pi * (edges / period + phase)
    expected = 5 * periods * (np.diff(edges) - amplitude * period / (2 * np.pi) * np.diff(np.cos(angle)))
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
    assert counts.argmax() in (0, 9)  # phase 0.25 begins at the peak


def test_peak_to_trough_is_the_amplitude() -> None:
    one = {"kind": "diurnal", "rate_rps": 5, "amplitude": 0.5}
    other = {"kind": "diurnal", "rate_rps": 5, "peak_to_trough": 3}
    np.testing.assert_array_equal(build(one).arrival_s, build(other).arrival_s)


def test_closed_loop_chains_every_client() -> None:
    workload = build(ARRIVALS["closed-loop"], requests=100_000)
    assert workload.after.tolist()[:9] == [-1] * 7 + [0, 1]
    np.testing.assert_array_equal(workload.after[7:], np.arange(100_000 - 7))
    assert workload.arrival_s.mean() == pytest.approx(2, rel=4 / math.sqrt(100_000))
    few = build(ARRIVALS["closed-loop"], requests=3)
    assert few.after.tolist() == [-1] * 3
    assert few.provenance.notes
    constant = build({"kind": "closed-loop", "clients": 2, "think_s": 0.5}, requests=4)
    assert constant.arrival_s.tolist() == [0.5] * 4


def test_a_turn_begins_with_the_turn_before() -> None:
    workload = build(SESSIONS, output_tokens={"kind": "uniform", "min": 1, "max": 90})
    unit = workload.name_unit_tokens
    later = np.flatnonzero(workload.after >= 0)
    assert len(later) > 500
    for request in later:
        before = workload.after[request]
        assert before == request - 1
        assert workload.session[before] == workload.session[request]
        assert workload.prompt_tokens[request] > workload.prompt_tokens[before] + workload.output_tokens[before]
        names = names_of(workload, int(before))
        assert names_of(workload, int(request))[: len(names)] == names
    np.testing.assert_array_equal(workload.named_tokens, workload.prompt_tokens + workload.output_tokens)
    # The system prompt (700 rounded up to 704 = 11 units) is common to all, the rest to one conversation.
    owners: dict[int, set[int]] = {}
    for turn in range(len(workload)):
        for place, name in enumerate(names_of(workload, turn)):
            owners.setdefault(name, set()).add(int(workload.session[turn]))
            assert (name < 11) == (place < 11)
    sessions = int(workload.session.max()) + 1
    assert all(len(owners[name]) == (sessions if name < 11 else 1) for name in owners)
    assert sorted(owners) == list(range(len(owners)))
    assert unit == 64
    assert workload.prompt_tokens.min() > 704


def test_names_tell_the_content_of_every_token() -> None:
    """Equal names imply that everything before is equal: each name has one place and one predecessor."""
    workload = build(SESSIONS)
    before: dict[int, int] = {}
    for request in range(len(workload)):
        names = names_of(workload, request)
        for name, previous in zip(names, [-1, *names], strict=False):
            assert before.setdefault(name, previous) == previous


def test_sessions_statistics() -> None:
    n = 100_000
    workload = build(SESSIONS, requests=n)
    starts = workload.arrival_s[workload.after == -1]
    assert n / len(starts) == pytest.approx(4, rel=0.05)
    assert starts[-1] == pytest.approx(len(starts) / 2, rel=4 / math.sqrt(len(starts)))
    think = workload.arrival_s[workload.after >= 0]
    assert think.mean() == pytest.approx(3, rel=4 / math.sqrt(len(think)))


def test_sessions_end_at_the_limit_of_context() -> None:
    turns = {"turns": 50, "max_context_tokens": 2000}
    workload = build({**SESSIONS, **turns}, prompt_tokens=100, output_tokens=100)
    context = workload.prompt_tokens + workload.output_tokens
    assert len(workload) == 1000
    assert context.max() == 704 + 6 * 200
    assert np.bincount(workload.session)[:-1].tolist() == [6] * (1000 // 6)
    huge = build({**SESSIONS, **turns}, prompt_tokens=5000)
    assert (huge.after == -1).all()


def test_sessions_without_system_prompt_share_nothing() -> None:
    workload = build({**SESSIONS, "system_tokens": 0, "turns": 1}, requests=50)
    names = [set(names_of(workload, request)) for request in range(50)]
    assert sum(map(len, names)) == len(set().union(*names))


@pytest.mark.parametrize(
    ("lengths", "mean", "cv"),
    [
        (7, 7, 0),
        ({"kind": "constant", "value": 7}, 7, 0),
        ({"kind": "lognormal", "mean": 1000, "cv": 1.2}, 1000, 1.2),
        ({"kind": "lognormal", "mean": 1000, "cv": 0}, 1000, 0),
        ({"kind": "uniform", "min": 1, "max": 9}, 5, math.sqrt(80 / 12) / 5),
        ({"kind": "geometric", "mean": 20}, 20, math.sqrt(1 - 1 / 20)),
        ({"kind": "geometric", "mean": 1}, 1, 0),
        ({"kind": "exponential", "mean": 500}, 500.5, 500 / 500.5),
        ({"kind": "empirical", "values": [1, 5]}, 3, 2 / 3),
        ({"kind": "empirical", "values": [1, 5, 99], "weights": [1, 3, 0]}, 4, math.sqrt(3) / 4),
    ],
)
def test_lengths(lengths: Any, mean: float, cv: float) -> None:
    n = 200_000
    drawn = draw_lengths(TypeAdapter(Lengths).validate_python(lengths), n, rng=stream(3, "test"))
    assert drawn.dtype == np.int64
    assert drawn.mean() == pytest.approx(mean, rel=4 * cv / math.sqrt(n) + 1e-12)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.05, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["lognormal", "geometric", "exponential"]),
    mean=st.floats(1, 2**31 - 1),
    low=st.integers(1, 1000),
    span=st.integers(0, 1000),
)
def test_lengths_are_clipped(kind: str, mean: float, low: int, span: int) -> None:
    described = {"kind": kind, "mean": mean, "min": low, "max": low + span} | (
        {"cv": 9.0} if kind == "lognormal" else {}
    )
    drawn = draw_lengths(TypeAdapter(Lengths).validate_python(described), 100, rng=stream(3, "test"))
    assert low <= drawn.min() <= drawn.max() <= low + span


@pytest.mark.parametrize("kind", ARRIVALS)
def test_more_requests_only_append(kind: str) -> None:
    short, long = build(ARRIVALS[kind], requests=200), build(ARRIVALS[kind], requests=1000)
    for column in (
        "arrival_s",
        "after",
        "prompt_tokens",
        "output_tokens",
        "priority",
        "patience_s",
        "session",
    ):
        np.testing.assert_array_equal(getattr(short, column), getattr(long, column)[:200], err_msg=column)


def test_changing_one_quantity_leaves_the_others() -> None:
    plain = build(patience_s={"kind": "exponential", "mean": 5}, priority={"weights": {0: 1, 1: 1}})
    other = build(
        ARRIVALS["gamma"],
        patience_s={"kind": "exponential", "mean": 5},
        priority={"weights": {0: 1, 1: 1}},
        output_tokens={"kind": "geometric", "mean": 9},
    )
    for column in ("prompt_tokens", "priority", "patience_s"):
        np.testing.assert_array_equal(getattr(plain, column), getattr(other, column))
    faster = build({"kind": "poisson", "rate_rps": 10})
    np.testing.assert_allclose(faster.arrival_s * 2, plain.arrival_s, rtol=1e-12)


def test_streams_differ_by_seed_and_purpose() -> None:
    drawn = [stream(seed, purpose).random(4).tolist() for seed in (0, 1, 2**64) for purpose in ("a", "b")]
    assert len({tuple(numbers) for numbers in drawn}) == 6
    assert stream(1, "a").random(4).tolist() == stream(1, "a").random(4).tolist()
    with pytest.raises(UserError, match="seed"):
        stream(-1, "a")


def digests() -> list[str]:
    patience = {"kind": "exponential", "mean": 5}
    return [digest(build(arrivals, patience_s=patience)) for arrivals in ARRIVALS.values()]


def test_the_same_seed_gives_the_same_arrays_in_another_process() -> None:
    root = Path(__file__).parents[1]
    code = "from tests.test_generators import digests; print(*digests())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert run.stdout.split() == digests()
    assert digest(build(seed=2)) != digest(build(seed=1))


def test_a_trace_of_the_specification_and_of_the_caller(tmp_path: Path) -> None:
    header = "arrival_s,prompt_tokens,output_tokens\n"
    (tmp_path / "inside.csv").write_text(header + "0,1,1\n4,2,1\n8,3,1\n")
    (tmp_path / "given.csv").write_text(header + "0,9,1\n1,8,1\n")
    recorded = WorkloadSpec.model_validate(
        {"trace": {"path": "inside.csv", "time_scale": 0.5, "requests": 2}, "patience_s": 6, "priority": 2}
    )
    inside = build_workload(recorded, seed=1, base_folder=tmp_path)
    assert inside.arrival_s.tolist() == [0, 2]
    assert len(build_workload(recorded, seed=1, base_folder=tmp_path, requests=3)) == 3
    for case in (recorded, spec(patience_s=6, priority=2, requests=77)):
        workload = build_workload(case, seed=1, base_folder=HERE, trace=tmp_path / "given.csv")
        assert workload.prompt_tokens.tolist() == [9, 8]
        assert workload.arrival_s.tolist() == [0, 0.5 if case is recorded else 1], "its time_scale stays"
        assert workload.patience_s.tolist() == [6, 6]
        assert workload.priority.tolist() == [2, 2]
    with pytest.raises(UserError, match="does not exist"):
        build_workload(recorded, seed=1, base_folder=tmp_path / "elsewhere")


def test_requests_of_the_caller_win() -> None:
    for case in (spec(requests=10), spec(duration_s=10)):
        assert len(build_workload(case, seed=1, base_folder=HERE, requests=33)) == 33
    with pytest.raises(UserError, match="requests"):
        build_workload(spec(), seed=1, base_folder=HERE, requests=0)


def test_no_arrival_within_the_duration() -> None:
    with pytest.raises(UserError, match="no request arrives"):
        build({"kind": "poisson", "rate_rps": 1e-6}, duration_s=1)
    with pytest.raises(UserError, match="too many requests"):
        build({"kind": "poisson", "rate_rps": 1e6}, duration_s=1e6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrivals": {"kind": "poison", "rate_rps": 5}}, "poison"),
        ({"arrivals": {"kind": "poisson", "rate_rps": 0}}, "greater than"),
        ({"arrivals": {"kind": "poisson", "rate_rps": math.nan}}, "rate_rps"),
        ({"arrivals": {"kind": "poisson", "rate": 5}}, "rate"),
        ({"arrivals": {"kind": "gamma", "rate_rps": 5}}, "cv or shape"),
        ({"arrivals": {"kind": "gamma", "rate_rps": 5, "cv": 1, "shape": 1}}, "cv or shape"),
        ({"arrivals": {"kind": "diurnal", "rate_rps": 5}}, "amplitude or peak_to_trough"),
        ({"arrivals": None}, "arrivals or a trace"),
        ({"arrivals": {"kind": "closed-loop", "clients": 3, "think_s": math.inf}}, "finite"),
        ({"arrivals": ARRIVALS["closed-loop"], "requests": None, "duration_s": 5}, "need requests"),
        ({"arrivals": SESSIONS, "requests": None, "duration_s": 5}, "need requests"),
        ({"requests": None}, "requests or duration_s"),
        ({"duration_s": 5}, "requests or duration_s"),
        ({"prompt_tokens": None}, "need prompt_tokens"),
        ({"trace": {"path": "x"}}, "already has its arrivals"),
        ({"prompt_tokens": 0}, "greater than or equal to 1"),
        ({"prompt_tokens": {"kind": "lognormal", "mean": 5, "cv": 1, "min": 9, "max": 3}}, "must not exceed"),
        ({"prompt_tokens": {"kind": "empirical", "values": []}}, "values"),
        ({"prompt_tokens": {"kind": "empirical", "values": [1], "weights": [1, 2]}}, "2 weights for 1"),
        ({"prompt_tokens": {"kind": "empirical", "values": [1], "weights": [0]}}, "all be 0"),
        ({"priority": 8}, "priority"),
        ({"priority": {"weights": {}}}, "more than 0"),
        ({"patience_s": 0}, "more than 0"),
        ({"patience_s": math.nan}, "patience_s"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_specification_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"arrivals": POISSON, "prompt_tokens": 5, "output_tokens": 5, "requests": 5}
    with pytest.raises(ValidationError, match=message):
        WorkloadSpec.model_validate({**good, **change})
