"""The trace layouts that are known, told apart by their column names (in brackets: optional).

| layout | columns | source |
|---|---|---|
| azure | TIMESTAMP, ContextTokens, GeneratedTokens | Azure LLM inference traces 2023 and 2024 (CC-BY 4.0) |
| mooncake | timestamp (ms), input_length, output_length, [hash_ids] | Mooncake (arXiv 2407.00079) |
| burstgpt | Timestamp (s), Request tokens, Response tokens, [Session ID] | BurstGPT (arXiv 2401.17644) |
| vidur | arrived_at (s), num_prefill_tokens, num_decode_tokens | Vidur's request metrics |
| vllm | queued_ts or arrival_time (s), input_toks, output_toks | per-request records of a vLLM run |
| plain | arrival_s, prompt_tokens, output_tokens, [priority, patience_s, deadline_s, session] | ours |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from profiles.errors import UserError, did_you_mean, shorten

__all__ = ["LAYOUTS", "Field", "Layout", "TraceColumns", "detect", "normalise"]

Field = Literal["stamp", "prompt", "output", "priority", "patience", "deadline", "session", "names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which column means what. Names are lower case; `stamp` lists the columns that can serve, best first."""

    kind: str
    stamp: tuple[str, ...]
    prompt: str
    output: str
    optional: tuple[tuple[Field, str], ...] = ()
    stamps_per_s: float = 1.0  # stamps are counted in seconds / stamps_per_s
    dated: bool = False  # stamps are dates with a time of day

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.stamp, self.prompt, self.output, *(name for _, name in self.optional))

    def describe(self) -> str:
        return f"{self.kind} ({' or '.join(self.stamp)}, {self.prompt}, {self.output})"

    def missing(self, columns: Sequence[str]) -> list[str]:
        missing = [name for name in (self.prompt, self.output) if name not in columns]
        return missing if any(name in columns for name in self.stamp) else [" or ".join(self.stamp), *missing]


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        kind="plain",
        stamp=("arrival_s",),
        prompt="prompt_tokens",
        output="output_tokens",
        optional=(
            ("priority", "priority"),
            ("patience", "patience_s"),
            ("deadline", "deadline_s"),
            ("session", "session"),
        ),
    ),
    Layout(
        kind="azure",
        stamp=("timestamp",),
        prompt="contexttokens",
        output="generatedtokens",
        stamps_per_s=1e7,
        dated=True,
    ),
    Layout(
        kind="mooncake",
        stamp=("timestamp",),
        prompt="input_length",
        output="output_length",
        optional=(("names", "hash_ids"),),
        stamps_per_s=1e3,
    ),
    Layout(
        kind="burstgpt",
        stamp=("timestamp",),
        prompt="request tokens",
        output="response tokens",
        optional=(("session", "session id"),),
    ),
    Layout(kind="vidur", stamp=("arrived_at",), prompt="num_prefill_tokens", output="num_decode_tokens"),
    Layout(kind="vllm", stamp=("queued_ts", "arrival_time"), prompt="input_toks", output="output_toks"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceColumns:
    """A layout found in a file: for each field that is there, the position and the spelling of its column."""

    layout: Layout
    fields: tuple[Field, ...]
    names: tuple[str, ...]  # as the file spells them
    positions: tuple[int, ...]
    width: int


def normalise(name: str) -> str:
    return name.strip().lower()


def detect(spelled: Sequence[str], path: Path) -> TraceColumns:
    """The layout whose columns are all there. UserError when none or more than one fits."""
    columns = [normalise(name) for name in spelled]
    fitting = [layout for layout in LAYOUTS if not layout.missing(columns)]
    if not fitting:
        raise _unknown(spelled, columns, path)
    if len(fitting) > 1:
        kinds = " and ".join(layout.kind for layout in fitting)
        raise UserError(f"the columns of {path} fit more than one layout: {kinds}", next_step="remove one set")
    layout = fitting[0]
    stamp = next(name for name in layout.stamp if name in columns)
    wanted: list[tuple[Field, str]] = [("stamp", stamp), ("prompt", layout.prompt), ("output", layout.output)]
    wanted += [(field, name) for field, name in layout.optional if name in columns]
    twice = [name for _, name in wanted if columns.count(name) > 1]
    if twice:
        raise UserError(f"the column {twice[0]!r} occurs more than once in {path}")
    positions = tuple(columns.index(name) for _, name in wanted)
    return TraceColumns(
        layout=layout,
        fields=tuple(field for field, _ in wanted),
        names=tuple(spelled[position] for position in positions),
        positions=positions,
        width=len(columns),
    )


def _unknown(spelled: Sequence[str], columns: Sequence[str], path: Path) -> UserError:
    known = {name for layout in LAYOUTS for name in layout.known}
    hints = [
        f"{name!r}: {hint}"
        for name in columns[:100]
        if name and name not in known and (hint := did_you_mean(name[:100], known)).startswith("did you mean")
    ]
    nearest = min(LAYOUTS, key=lambda layout: len(layout.missing(columns)))
    lacking = nearest.missing(columns)
    if len(lacking) < 3:
        hints.append(f"nearest layout: {nearest.kind}, which lacks {', '.join(lacking)}")
    line = ",".join(spelled)
    if line.startswith("["):
        hints.append("a JSON file must hold one object a line")
    elif len(columns) == 1 and any(mark in line for mark in ";\t|"):
        hints.append("columns are separated by commas")
    elif not any(char.isalpha() for char in line):
        hints.append("the first line must name the columns")
    found = ", ".join(shorten(name, 40) for name in spelled[:20]) + (", ..." if len(spelled) > 20 else "")
    return UserError(
        f"the columns of {path} fit no known trace layout: {found}",
        allowed=", ".join(layout.describe() for layout in LAYOUTS),
        next_step="; ".join(hints),
    )
