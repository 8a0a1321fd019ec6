"""Predicting the rates of a model on a device from what a row of a table of measurements says about the setting.

    predict_near(Catalogue(), {"model": "Llama-3.2-3B", "quantization": "w4a16", "soc": "Snapdragon 8 Elite",
                               "runtime": "Genie", "accelerator": "npu", "prompt_len": 128}).decode_tok_s

Measured columns are never read. What is unknown is never guessed: then there is no prediction, and a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from profiles import Catalogue, Confidence, weakest
from profiles.near_runtime import ANY_FAMILY, FittedTimes
from sim.calibration.near_case import INPUTS, NearCase, Row, case_of
from sim.calibration.near_cells import COLUMNS, Column, value_of
from sim.calibration.near_levels import METRICS, Metric, seconds, shipped

__all__ = ["INPUTS", "NearPrediction", "predict_near"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPrediction:
    """Rates and times of one setting, one sequence at a time; None, all of them, with a reason."""

    decode_tok_s: float | None = None
    """Tokens/s of the answer."""
    prefill_tok_s: float | None = None
    """Tokens/s of the prompt."""
    ttft_s: float | None = None
    """Seconds from the prompt to the first token: the time of the prompt."""
    reason: str = ""
    """Why there is no prediction; empty when there is one."""
    confidence: Mapping[Column, Confidence] = field(default_factory=dict)
    """How far to trust each value."""
    band: Mapping[Column, float | None] = field(default_factory=dict)
    """|predicted / measured - 1| that nine in ten held-out measurements of the same runtime (or engine) stay under."""
    assumptions: tuple[str, ...] = ()
    """What the row does not tell, and what was taken instead."""

    def value(self, column: Column) -> float | None:
        """The value of a column."""
        return {"decode_tok_s": self.decode_tok_s, "prefill_tok_s": self.prefill_tok_s, "ttft_s": self.ttft_s}[column]


def predict_near(catalogue: Catalogue, row: Row) -> NearPrediction:
    """The rates of a row's setting. Reads the columns of `INPUTS` only; missing ones are as good as empty.

    Raises `UserError` for a number that is none.
    """
    case = case_of(catalogue, row)
    if isinstance(case, str):
        return NearPrediction(reason=case)
    values: dict[Column, float] = {}
    trust: dict[Column, Confidence] = {}
    bands: dict[Column, float | None] = {}
    notes = list(case.assumed)
    for metric in METRICS:
        time_s = seconds(case, metric, shipped(catalogue, metric))
        level, band, note = _level(catalogue, case, metric)
        notes += [note] if note else []
        for column in COLUMNS:
            if (column == "decode_tok_s") == (metric == "decode"):
                values[column] = value_of(column, case, time_s)
                trust[column], bands[column] = level, band
    return NearPrediction(
        decode_tok_s=values["decode_tok_s"],
        prefill_tok_s=values["prefill_tok_s"],
        ttft_s=values["ttft_s"],
        confidence=trust,
        band=bands,
        assumptions=tuple(dict.fromkeys(notes)),
    )


def _level(catalogue: Catalogue, case: NearCase, metric: Metric) -> tuple[Confidence, float | None, str]:
    """How specific the coefficients of a time are: confidence, band, and what to say about it."""
    general = _times(catalogue, ANY_FAMILY, case, metric)
    own = _times(catalogue, case.family, case, metric) if case.family != ANY_FAMILY else None
    assert general is not None
    known_soc = case.soc.name in general.by_soc
    shape: Confidence = "interpolated" if case.model.confidence == "assumed" else "fitted"
    if own is None or not own.points:
        runtime = f"runtime {case.family}" if case.family != ANY_FAMILY else "the runtime"
        chip = "" if known_soc else f", and no measurement on {case.soc.name}"
        note = f"{metric}: no measurement of {runtime} on any {case.engine}{chip}: the general level of that engine"
        return "assumed", general.band, note
    if case.soc.name in own.by_soc:
        return shape, own.band, ""
    if known_soc:
        note = f"{metric}: no measurement of {case.family} on {case.soc.name}: as elsewhere, and as others there"
        return "interpolated", general.band, note
    note = f"{metric}: no measurement on {case.soc.name}: the general level, scaled by its published peaks"
    return weakest(["interpolated", case.soc.confidence_of("engines")]), general.band, note


def _times(catalogue: Catalogue, family: str, case: NearCase, metric: Metric) -> FittedTimes | None:
    record = catalogue.near_runtime(family, case.engine)
    return None if record is None else getattr(record, metric)
