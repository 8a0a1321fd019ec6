"""A row of a table of measurements as the model of near times reads it: inputs only, never a measured cell.

    case_of(catalogue, row)        what is asked, or why it cannot be told

What a row leaves open is assumed by rules that look at `INPUTS` alone, and every such assumption is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

from profiles import Catalogue, Model, Soc, UserError
from profiles.quantisation import Quantisation, quantisation
from profiles.soc import EngineKind
from sim.calibration.near_names import asked_model, runtime_family, threads_of

__all__ = ["INPUTS", "NearCase", "Row", "case_of"]

Row = Mapping[str, "str | float | None"]

INPUTS = (
    "model", "params_b", "quantization", "device", "soc", "runtime", "accelerator", "prompt_len", "context_len",
)  # fmt: skip
"""The only columns that a prediction reads."""

_GRAPH_CONTEXT = {"genie": 4096}  # tokens that a compiled graph attends to, when a row does not tell
_PROMPT_TOKENS = {"genie": 1024, "litert": 512, "executorch-xnnpack": 640}
_PROMPT_WHY = {
    "genie": "the first tables of Genie give the time to the first token of a full context of 1024",
    "litert": "the benchmark of LiteRT reads 512 tokens",
    "executorch-xnnpack": "an image of 576 tokens and a short question",
}
_LITERT_LM_PROMPT = 1024
_USUAL_PROMPT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCase:
    """One model in one format, on one engine of one chip, under one runtime."""

    model: Model
    soc: Soc
    engine: EngineKind
    family: str
    precision: Quantisation
    threads: int | None
    prompt_tokens: int
    context_tokens: int
    """Tokens that a step attends to: the compiled window, or the prompt."""
    fixed_window: bool
    """Whether every step attends to all of `context_tokens`, however short the prompt."""
    memory_limit_gb: float | None
    assumed: tuple[str, ...]


def case_of(catalogue: Catalogue, row: Row) -> NearCase | str:
    """The case that a row describes, or why it describes none. Reads the columns of `INPUTS`, no other."""
    try:
        soc = catalogue.soc(_text(row, "soc") or "nothing")
    except UserError:
        return f"the chip {_text(row, 'soc')!r} is unknown"
    engine = _text(row, "accelerator").lower()
    if engine not in get_args(EngineKind):
        return f"the accelerator {engine!r} is none of npu, gpu, cpu"
    kind = cast(EngineKind, engine)
    if kind not in soc.engines:
        return f"{soc.name} has no {kind}"
    if not _text(row, "model"):
        return "the row names no model"
    params_b = _number(row, "params_b")
    named = asked_model(catalogue, _text(row, "model"), params_b)
    if isinstance(named, str):
        return named
    precision = quantisation(_text(row, "quantization"), params_b=params_b or named.model.total_params_b)
    if precision is None:
        return f"the quantisation {_text(row, 'quantization')!r} tells no width"
    runtime = _text(row, "runtime")
    family = runtime_family(runtime, kind, soc.name)
    prompt, prompt_note = _prompt_tokens(row, family, runtime)
    window, window_note = _window_tokens(row, family, prompt)
    return NearCase(
        model=named.model,
        soc=soc,
        engine=kind,
        family=family,
        precision=precision,
        threads=threads_of(runtime),
        prompt_tokens=prompt,
        context_tokens=min(window, named.model.max_context_tokens),
        fixed_window=family in _GRAPH_CONTEXT or bool(_text(row, "context_len")),
        memory_limit_gb=named.memory_limit_gb,
        assumed=tuple(note for note in (*named.assumed, precision.assumed, prompt_note, window_note) if note),
    )


def _prompt_tokens(row: Row, family: str, runtime: str) -> tuple[int, str]:
    """Tokens of the prompt, and what had to be assumed about them."""
    if (told := _number(row, "prompt_len")) is not None:
        return max(1, int(told)), ""
    if family == "litert" and "litert-lm" in runtime.lower():
        return _LITERT_LM_PROMPT, "the prompt has 1024 tokens: the benchmark of LiteRT-LM reads as many"
    tokens = _PROMPT_TOKENS.get(family, _USUAL_PROMPT)
    return tokens, f"the prompt has {tokens} tokens: {_PROMPT_WHY.get(family, 'its length is not told')}"


def _window_tokens(row: Row, family: str, prompt: int) -> tuple[int, str]:
    """Tokens that a step attends to, and what had to be assumed about them."""
    if (told := _number(row, "context_len")) is not None:
        return max(1, int(told)), ""
    if family in _GRAPH_CONTEXT and _number(row, "prompt_len") is not None:
        tokens = _GRAPH_CONTEXT[family]
        return tokens, f"the compiled graph attends to {tokens} tokens, or to as many as the model can"
    return prompt, ""


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None or value != value else str(value).strip()  # NaN is how tables in memory write empty


def _number(row: Row, column: str) -> float | None:
    """A number above 0, or None for an empty cell. Raises UserError for anything else."""
    text = _text(row, column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise UserError(f"{column}: bad value", got=text, allowed="a number above 0, or nothing")
    return value
