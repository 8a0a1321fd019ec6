"""What `nearfar validate` prints: how wrong, how much of it is covered, and where it is worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["validation_screen"]

_WORST = 5
_NAMES = {
    "decode_tok_s": "decode rate",
    "prefill_tok_s": "prefill rate",
    "tpot_ms": "TPOT",
    "ttft_ms": "TTFT",
}


def validation_screen(result: Mapping[str, Any]) -> str:
    """The result of `sim.validation.Validation.to_json` for a terminal."""
    middle, band = result["median_ape"], result["p90_ape"]
    lines = [f"{'':14}{'cells':>8}{'predicted':>11}{'median error':>14}{'90 % within':>13}"]
    for metric, name in _NAMES.items():
        counts = result["cells"][metric]
        if counts["measured"]:
            errors = (_share(source["overall"][metric]) for source in (middle, band))
            lines.append(f"{name:14}{counts['measured']:8,}{counts['predicted']:11,}" + "{:>14}{:>13}".format(*errors))
    lines.append(f"coverage {result['coverage']:.1%}")
    lines += [f"  not predicted: {count} cells, {reason}" for reason, count in result["uncovered"].items()]
    for metric, name in _NAMES.items():
        worst = sorted(
            ((errors[metric], group) for group, errors in middle["by_group"].items() if metric in errors), reverse=True
        )
        if len(worst) > _WORST:
            told = "; ".join(f"{group} {error:.0%}" for error, group in worst[:_WORST])
            lines.append(f"largest median errors, {name}: {told}")
    levels = ", ".join(f"{count:,} {level}" for level, count in result["confidence"].items())
    lines.append(f"confidence of the predictions: {levels}")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
