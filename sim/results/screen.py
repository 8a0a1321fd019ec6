"""A summary on one terminal screen: the verdict first, then what it costs, then the figures behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from sim.results.words import count, duration, figure, percent

__all__ = ["screen"]

_WIDTH = 100
_LEFT = 14  # the column of labels
_LATENCIES = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("e2e_s", "E2E"), ("queue_s", "queue"))
_POINTS = ("mean", "p50", "p90", "p95", "p99")
_LONGEST = 4  # lines that one list of words may take


def screen(summary: Mapping[str, Any]) -> str:
    """At most 40 lines of at most 100 columns, without colours, for the summary of one run."""
    s = summary
    lines = [
        *_wrapped(s["verdict"], s["verdict_reason"]),
        _row("binds", f"{s['binding_constraint']}; headroom {percent(s['headroom'])}"),
        "",
        _row("deployment", f"{s['replica_count']} x {s['deployment']}"),
        _row("cost", f"{s['accelerators']} GPUs, {_money(s['cost_usd_per_1k_requests'])} per 1k requests, "
             f"{figure(s['energy_j_per_request'], 'J')} per request"),
        _row("requests", _counts(s)),
        *_lost(s),
        *([_row("warm-up", f"{count(s['trimmed'])} requests left out of latencies and SLO")] if s["trimmed"] else []),
        _row("rates", f"{figure(s['served_rps'], 'requests/s')} served, "
             f"{figure(s['throughput_tok_s'], 'output tokens/s')}, {duration(s['span_s'])} simulated"),
        *([_row("SLO", _slo(s))] if s["slo_attainment"] is not None else []),
        "",
        _row("latency", "".join(f"{point:>12}" for point in (*_POINTS, "SLO")).rstrip()),
        *[_row(f"  {label}", _latency(s[key], s["slo"].get(key))) for key, label in _LATENCIES],
        "",
        _row("in use", f"GPU busy {percent(s['gpu_utilization'])}, KV blocks {percent(s['kv_utilization'])}, "
             f"prefix hits {percent(s['prefix_hit_rate'])}, {count(s['preemptions'])} preemptions"),
        _row("waited for", ", ".join(f"{name} {duration(value)}" for name, value in s["blocked_s"].items())),
        "",
        _row("workload", _workload(s)),
        _row("offered", _offered(s)),
        *_listed("notes", s["notes"]),
        _row("confidence", s["confidence"]),
        *_listed("assumed", s["assumed"]),
        *_speed(s),
        *_seeds(s),
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _seeds(s: Mapping[str, Any]) -> list[str]:
    """Means and 95 % intervals over several seeds; everything above is the first seed."""
    if "seeds" not in s:
        return []
    merged = s["seeds"]
    rows = (
        ("  TTFT mean", merged["ttft_s"]["mean"], duration),
        ("  TTFT p99", merged["ttft_s"]["p99"], duration),
        ("  TPOT mean", merged["tpot_s"]["mean"], duration),
        ("  E2E mean", merged["e2e_s"]["mean"], duration),
        ("  goodput", merged["goodput_rps"], lambda value: figure(value, "requests/s")),
    )
    verdicts = ", ".join(f"{number} x {verdict}" for verdict, number in merged["verdicts"].items() if number)
    lines = [
        "",
        _row(f"{len(merged['seeds'])} seeds", f"{verdicts}; mean and 95 % interval (figures above: the first seed)"),
    ]
    lines += [_row("", note) for note in merged["notes"] if note not in s["notes"]]
    for label, value, word in rows:
        if value["low"] is not None:
            lines.append(_row(label, f"{word(value['mean'])}   [{word(value['low'])}, {word(value['high'])}]"))
    return lines


def _row(label: str, text: str) -> str:
    return f"{label:<{_LEFT}}{text}"[:_WIDTH]


def _wrapped(label: str, text: str) -> list[str]:
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH - _LEFT) or [""]
    if len(lines) > _LONGEST:
        lines = [*lines[: _LONGEST - 1], "... (all of it in summary.json)"]
    return [_row(label if i == 0 else "", line) for i, line in enumerate(lines)]


def _listed(label: str, words: Iterable[str]) -> list[str]:
    return _wrapped(label, "; ".join(words)) if words else []


def _money(usd: float | None) -> str:
    return "-" if usd is None else f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.2g}"


def _counts(s: Mapping[str, Any]) -> str:
    parts = [f"{count(s[name])} {name}" for name in ("completed", "rejected", "abandoned", "failed")]
    return f"{count(s['requests'])} = " + " + ".join(parts)


def _lost(s: Mapping[str, Any]) -> list[str]:
    reasons = {k: n for group in ("rejected_by", "abandoned_by", "failed_by") for k, n in s[group].items() if n}
    return [_row("  lost to", ", ".join(f"{reason} {count(n)}" for reason, n in reasons.items()))] if reasons else []


def _slo(s: Mapping[str, Any]) -> str:
    return f"{percent(s['slo_attainment'])} met, goodput {figure(s['goodput_rps'], 'requests/s')}"


def _latency(points: Mapping[str, float] | None, limit: float | None) -> str:
    if points is None:
        return f"{'-':>12}"
    cells = [duration(points[point]) for point in _POINTS] + ([duration(limit)] if limit is not None else [])
    return "".join(f"{cell:>12}" for cell in cells)


def _workload(s: Mapping[str, Any]) -> str:
    dropped = ", ".join(f"{reason} {count(n)}" for reason, n in s["dropped_by"].items())
    read = f", {count(s['rows_read'])} rows read" if s["rows_read"] else ""
    return f"{s['workload']}, seed {s['seed']}{read}" + (f", dropped: {dropped}" if dropped else "")


def _offered(s: Mapping[str, Any]) -> str:
    tokens = f"{count(round(s['prompt_tokens_mean']))} prompt and {count(round(s['output_tokens_mean']))} output tokens"
    return f"{figure(s['offered_rps'], 'requests/s')}, {tokens} on average"


def _speed(s: Mapping[str, Any]) -> list[str]:
    if s.get("requests_per_s") is None:
        return []
    return [_row("simulated in", f"{duration(s['engine_s'])}, {figure(s['requests_per_s'], 'requests/s')}")]
