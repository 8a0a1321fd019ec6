"""Timing a GGUF model on this machine, with llama.cpp's server inside this process (xllamacpp).

    measured = measure(path, gguf, threads=1)
    measured.timings          what `sim.calibration.local_fit` fits

Every configuration is timed once a round, round after round while the time allowed lasts, and the fastest of its rounds
counts: other programs only ever slow it down. Prompts are never cached. One thread is the default: two on a machine of
two cores collapse as soon as anything else runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from profiles import UserError
from scheduler.gguf_model import GgufModel
from scheduler.runtime import LlamaCpp
from sim.calibration.local_fit import Kind, Timing

__all__ = ["DECODE_PLAN", "FULL_PLAN", "QUICK_PLAN", "Measured", "Plan", "measure", "memory_gb_s"]

Progress = Callable[[int, int], None]

_PROBE_TOKENS = 16
_MOST_THREADS = 512  # that llama.cpp takes
_NOISY = 0.2  # spread of repetitions from which the machine counts as busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to time. Lengths and batches that are held out do not enter the fit."""

    lengths: tuple[int, ...]
    """Prompts, and the contexts at which answers begin."""
    held_out_lengths: tuple[int, ...]
    batches: tuple[int, ...]
    held_out_batches: tuple[int, ...]
    columns: tuple[int, ...]
    """Prompt tokens of a step, to time the layers without the head."""
    batch_prompt: int = 16
    column_prompt: int = 64
    answer_steps: int = 32
    rounds: int = 3
    most_rounds: int = 7
    """As many as the time allowed holds, from `rounds` on."""

    @property
    def samples(self) -> int:
        """Of one round."""
        return 2 * len(self.all_lengths) + len(self.columns) + len(self.all_batches)

    @property
    def all_lengths(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted((*self.lengths, *self.held_out_lengths)))

    @property
    def all_batches(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted((*self.batches, *self.held_out_batches)))


FULL_PLAN = Plan(
    lengths=(32, 128, 512, 1536), held_out_lengths=(64, 256, 1024),
    batches=(1, 2, 3, 4, 8), held_out_batches=(5, 6), columns=(1, 2, 4),
)  # fmt: skip
QUICK_PLAN = Plan(
    lengths=(16, 64), held_out_lengths=(32,), batches=(1, 2, 4), held_out_batches=(3,), columns=(1, 2),
    batch_prompt=8, column_prompt=16, answer_steps=8, rounds=1, most_rounds=1,
)  # fmt: skip
DECODE_PLAN = Plan(lengths=(32, 256, 768), held_out_lengths=(), batches=(), held_out_batches=(), columns=())
"""Of a second model, against which the first one's constants are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Timings of one model, what they were made with, and what a reader should know."""

    timings: tuple[Timing, ...]
    memory_gb_s: float
    runtime: str
    threads: int
    notes: tuple[str, ...]


def measure(
    path: Path,
    gguf: GgufModel,
    *,
    plan: Plan = FULL_PLAN,
    threads: int = 1,
    budget_s: float = 300.0,
    progress: Progress = lambda done, total: None,
) -> Measured:
    """Time a model by a plan, in about `budget_s` seconds: lengths that would take longer are left out, and told.

    Raises UserError where the runtime is missing or refuses the file, and where not even two lengths fit.
    """
    if not 1 <= threads <= _MOST_THREADS:
        raise UserError("threads must be at least 1", got=threads, allowed=f"1 to {_MOST_THREADS}")
    if not 0.0 < budget_s < float("inf"):
        raise UserError(
            "the time allowed must be a number of seconds above 0", got=budget_s, next_step="--budget-s 300"
        )
    with LlamaCpp(path, threads=threads) as engine:
        plan, notes = _affordable(_within(plan, gguf), engine, budget_s)
        timings = tuple(_timing(found, plan) for found in _rounds(engine, plan, budget_s, progress))
        runtime = engine.version
    noisy = sum(timing.spread > _NOISY for timing in timings)
    if noisy:
        busy = f"took {_NOISY:.0%} longer in half of the rounds than in the fastest: the machine was busy"
        notes.append(f"{noisy} of {len(timings)} timings {busy}")
    return Measured(timings=timings, memory_gb_s=memory_gb_s(), runtime=runtime, threads=threads, notes=tuple(notes))


def memory_gb_s(repeats: int = 7) -> float:
    """GB/s (1e9) at which one thread reads memory that no cache holds: the best of some passes over 256 MB."""
    data = np.ones(1 << 25, dtype=np.int64)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        data.max()
        best = min(best, time.perf_counter() - began)
    return data.nbytes / best / 1e9


class _Sample(NamedTuple):
    """What was timed once: `context` is the mean of the step, `asked` the length of the prompt."""

    kind: Kind
    asked: int
    sequences: int
    context: float
    seconds: float


def _rounds(engine: LlamaCpp, plan: Plan, budget_s: float, progress: Progress) -> list[list[_Sample]]:
    """Samples of each configuration, one of every round that was made."""
    seen: list[list[_Sample]] = []
    began = time.monotonic()
    for turn in range(plan.most_rounds):
        if turn >= plan.rounds and (time.monotonic() - began) * (turn + 1) / turn > budget_s:
            break
        for number, sample in enumerate(_round(engine, plan, turn)):
            if turn == 0:
                seen.append([])
            seen[number].append(sample)
            progress(sum(map(len, seen)), plan.most_rounds * plan.samples)
    made = sum(map(len, seen))
    progress(made, made)
    return seen


def _round(engine: LlamaCpp, plan: Plan, turn: int) -> Iterator[_Sample]:
    """Every configuration once, always in the same order."""
    steps = plan.answer_steps
    engine.start(context=plan.all_lengths[-1] + steps)
    for length in plan.all_lengths:
        found = engine.ask(prompt=length, steps=steps, seed=turn)
        yield _Sample("prefill", length, 1, float(length), found.prompt_s)
        yield _Sample("decode", length, 1, length + steps / 2, found.step_s)
    prompt = plan.column_prompt
    for columns in plan.columns:
        engine.start(context=prompt, micro_batch=columns)
        found = engine.ask(prompt=prompt, steps=1, seed=turn)
        yield _Sample("layers", prompt, columns, (prompt + 1) / 2, found.prompt_s * columns / prompt)
    prompt = plan.batch_prompt
    for sequences in plan.all_batches:
        engine.start(context=prompt + steps, sequences=sequences)
        found = engine.ask(prompt=prompt, steps=steps, sequences=sequences, seed=turn)
        yield _Sample("batch", prompt, sequences, prompt + steps / 2, found.step_s)


def _timing(found: list[_Sample], plan: Plan) -> Timing:
    kind, asked, sequences, context, _ = found[0]
    lengths = plan.held_out_lengths if kind in ("prefill", "decode") else ()
    held_out = asked in lengths or (kind == "batch" and sequences in plan.held_out_batches)
    seconds = [sample.seconds for sample in found]
    return Timing(kind, context, sequences, min(seconds), held_out, _spread(seconds))


def _spread(seconds: list[float]) -> float:
    """How far the median lies above the fastest, as a share."""
    return median(seconds) / min(seconds) - 1.0


def _within(plan: Plan, gguf: GgufModel) -> Plan:
    """The plan without lengths that the model's context cannot hold."""
    most = gguf.model.max_context_tokens - plan.answer_steps
    return _shorter(plan, most)


def _shorter(plan: Plan, most: int) -> Plan:
    return replace(
        plan,
        lengths=tuple(length for length in plan.lengths if length <= most),
        held_out_lengths=tuple(length for length in plan.held_out_lengths if length <= most),
    )


def _affordable(plan: Plan, engine: LlamaCpp, budget_s: float) -> tuple[Plan, list[str]]:
    """The plan without the longest prompts, until it fits the budget by a probe's rates."""
    engine.start(context=_PROBE_TOKENS)
    probe = engine.ask(prompt=_PROBE_TOKENS, steps=4)
    prompt_token_s, step_s = probe.prompt_s / _PROBE_TOKENS, probe.step_s
    notes = []
    while _seconds(plan, prompt_token_s, step_s) > budget_s and len(plan.lengths) > 2:
        longest = plan.all_lengths[-1]
        notes.append(f"prompts of {longest} tokens were left out: the time allowed is {budget_s:g} s")
        plan = _shorter(plan, longest - 1)
    needed = _seconds(plan, prompt_token_s, step_s)
    if len(plan.lengths) < 2 or needed > 3.0 * budget_s:
        raise UserError(
            "this model takes too long to measure here",
            got=f"about {needed:,.0f} s",
            allowed=f"{budget_s:g} s",
            next_step="allow more time, or take a smaller model",
        )
    return plan, notes


def _seconds(plan: Plan, prompt_token_s: float, step_s: float) -> float:
    prompts = sum(plan.all_lengths) + len(plan.columns) * plan.column_prompt + sum(plan.all_batches) * plan.batch_prompt
    steps = (len(plan.all_lengths) + sum(plan.all_batches)) * plan.answer_steps
    return plan.rounds * (prompts * prompt_token_s + steps * step_s)
