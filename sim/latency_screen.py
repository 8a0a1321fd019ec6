"""`nearfar latency` for people."""

from __future__ import annotations

from typing import Any

__all__ = ["latency_screen"]


def latency_screen(result: dict[str, Any]) -> str:
    """One screen: figures, then what binds, then what is assumed."""
    gib = 2**30
    fits = "fits" if result["fits"] else "DOES NOT FIT"
    lines = [
        f"{result['deployment']}   (coefficients: {result['engine']}, confidence: {result['confidence']})",
        "",
        f"  TTFT      {result['ttft_s'] * 1e3:12,.1f} ms   prefill {result['prefill_tok_s']:12,.0f} tok/s   "
        f"bound by {result['binding']['prefill']}",
        f"  TPOT      {result['tpot_s'] * 1e3:12,.2f} ms   decode  {result['decode_tok_s']:12,.0f} tok/s   "
        f"bound by {result['binding']['decode']}",
        f"  E2E       {result['e2e_s']:12,.2f} s",
        f"  energy    {result['energy_j']:12,.1f} J a request, without PUE",
        f"  memory    {result['memory_bytes'] / gib:12,.1f} GiB an accelerator of "
        f"{result['memory_limit_bytes'] / gib:.1f} allowed: {fits}",
        "",
        "  where a step's time goes (ms)" + "".join(f"{name:>13}" for name in result["terms_s"]["decode"]),
    ]
    for phase, terms in result["terms_s"].items():
        lines.append(f"    {phase:<28}" + "".join(f"{seconds * 1e3:>13.3f}" for seconds in terms.values()))
    if result["assumed"]:
        lines += ["", "  assumed: " + "; ".join(result["assumed"])]
    return "\n".join(lines)
