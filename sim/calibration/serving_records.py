"""Fitted coefficients as engine records: one a runtime, accelerator and precision, and what they fall back on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim.calibration.serving_fit import ALL_LEVELS, BY_VERSION, FIXED, PRIORS, Groups, ServingFit, groups_of
from sim.calibration.serving_inputs import Served
from sim.numbers import Floats

__all__ = ["FittedRows", "engine_records", "write_records"]

_DIGITS = 4
_EFFECTS = ("request_ms", "burst_share", "slot_share")
_KERNEL_RUNTIME = "vllm"  # its general record comes from kernel timings, not from here
_LEVELS = {
    "triple": ("runtime", "accelerator", "precision", "pair", "triple"),
    "pair": ("runtime", "accelerator", "pair"),
    "runtime": ("runtime",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRows:
    """What a fit was made from: rows, seconds measured (NaN where not), and where each row was published."""

    rows: Sequence[Served]
    tpot_s: Floats
    ttft_s: Floats
    sources: Sequence[str]


def engine_records(fit: ServingFit, data: FittedRows) -> list[dict[str, Any]]:
    """The records, ready to be written: from the general to the specific."""
    groups = [groups_of(row) for row in data.rows]
    errors = {level: _errors(fit, data, levels) for level, levels in (_LEVELS | {"version": ALL_LEVELS}).items()}
    found = []
    for level in ("runtime", "pair", "triple"):
        for name in sorted({one.of(level) for one in groups}):
            members = np.array([one.of(level) == name for one in groups])
            if level == "runtime" and name == _KERNEL_RUNTIME:
                continue
            found.append(_record(fit, level, groups, members, data, errors))
    return found


def _errors(fit: ServingFit, data: FittedRows, levels: Sequence[str]) -> dict[str, Floats]:
    """Relative errors of TPOT and TTFT with the effects of some levels, arrays of (rows)."""
    tpot, ttft = fit.predict(data.rows, levels=levels)
    return {"tpot": np.abs(tpot / data.tpot_s - 1.0), "ttft": np.abs(ttft / data.ttft_s - 1.0)}


def _record(
    fit: ServingFit,
    level: str,
    groups: Sequence[Groups],
    members: Floats,
    data: FittedRows,
    errors: Mapping[str, Mapping[str, Floats]],
) -> dict[str, Any]:
    one = groups[np.flatnonzero(members).tolist()[0]]
    parts = {"runtime": (one.runtime,), "pair": (one.runtime, one.accelerator)}
    name = "-".join(parts.get(level, (one.runtime, one.accelerator, one.precision)))
    sources = sorted({_publisher(data.sources[i]) for i in np.flatnonzero(members).tolist()})
    values = vars(fit.coefficients_of(one, levels=_LEVELS[level]))
    record: dict[str, Any] = {
        "kind": "engine",
        "name": name,
        "extends": _KERNEL_RUNTIME,
        "source": f"fitted to published serving measurements: {', '.join(sources)}",
        "confidence": "fitted",
        "runtime": one.runtime,
        "accelerators": ["*"] if level == "runtime" else [one.accelerator],
    }
    if level == "triple":
        record["precisions"] = [one.precision]
    record |= {key: _rounded(values[key]) for key in (*PRIORS, "mixed_attention_efficiency") if key not in _EFFECTS}
    record |= {key: _rounded(value) for key, value in FIXED.items()}
    record["mixed_query_tile_rows"] = int(FIXED["mixed_query_tile_rows"])
    record["serving"] = {key: _rounded(values[key]) for key in _EFFECTS}
    versions = sorted({g.version for g, member in zip(groups, members, strict=True) if member})
    if level == "triple":
        record["versions"] = {version: _version(fit, one, version) for version in versions}
    record["fit"] = _quality(members, data, errors["version" if level == "triple" else level])
    if level == "triple":
        unversioned = _quality(members, data, errors["triple"])
        record["fit"]["unversioned_tpot_median_error"] = unversioned["tpot_median_error"]
    record["provenance"] = {
        key: {"source": "a common value: serving measurements do not tell it", "confidence": "assumed"}
        for key in (*FIXED, "mixed_attention_efficiency")
    }
    return record


def _version(fit: ServingFit, one: Groups, version: str) -> dict[str, Any]:
    groups = Groups(runtime=one.runtime, accelerator=one.accelerator, precision=one.precision, version=version)
    values = vars(fit.coefficients_of(groups))
    serving = {key: _rounded(values[key]) for key in _EFFECTS}
    return {key: _rounded(values[key]) for key in BY_VERSION if key not in _EFFECTS} | {"serving": serving}


def _quality(members: Floats, data: FittedRows, errors: Mapping[str, Floats]) -> dict[str, Any]:
    models = {data.rows[i].deployment.model.name for i in np.flatnonzero(members).tolist()}
    quality: dict[str, Any] = {"rows": int(members.sum()), "models": len(models)}
    for metric, each in errors.items():
        known = each[members & np.isfinite(each)]
        if len(known):
            quality[f"{metric}_median_error"] = round(float(np.median(known)), 3)
            quality[f"{metric}_p90_error"] = round(float(np.quantile(known, 0.9)), 3)
    return quality


def _publisher(source: str) -> str:
    """`owner/repository` of a source that is an address, the source itself otherwise."""
    _, found, rest = source.partition("github.com/")
    return "/".join(rest.split("/")[:2]).split()[0] if found else source


def _rounded(value: Any) -> float:
    return float(f"{float(value):.{_DIGITS}g}")


def write_records(records: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write each record to its own file in a folder that exists; the files, in order."""
    paths = []
    for record in records:
        path = folder / f"{record['name']}.yaml"
        text = yaml.safe_dump(dict(record), sort_keys=False, width=118, default_flow_style=None, allow_unicode=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
