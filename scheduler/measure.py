"""Timing a GGUF model on this machine, with llama.cpp's server inside this process (xllamacpp).

    measured = measure(path, gguf, threads=1)
    measured.timings          what `sim.calibration.local_fit` fits

Every configuration is timed once a round, round after round, and the median of its rounds counts: what other programs
do meanwhile hits all of them alike. Prompts are never cached. One thread is the default: two on a machine of two cores
collapse as soon as anything else runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from profiles import UserError
from scheduler.gguf_model import GgufModel
from scheduler.runtime import LlamaCpp
from sim.calibration.local_fit import Kind, Timing

__all__ = ["DECODE_PLAN", "FULL_PLAN", "QUICK_PLAN", "Measured", "Plan", "measure", "memory_gb_s"]

Progress = Callable[[int, int], None]

_PROBE_TOKENS = 16
_NOISY = 0.3  # spread of repetitions from which the machine counts as busy


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
    batch_prompt=8, column_prompt=16, answer_steps=8, rounds=1,
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
    if threads < 1:
        raise UserError("threads must be at least 1", got=threads)
    seen: dict[tuple[Kind, int, int], list[tuple[float, float]]] = {}
    with LlamaCpp(path, threads=threads) as engine:
        runtime = engine.version
        plan, notes = _affordable(_within(plan, gguf), engine, budget_s)
        total = plan.rounds * (len(plan.all_lengths) + len(plan.all_batches) + len(plan.columns))
        done = 0
        for turn in range(plan.rounds):
            for key, context, seconds in _round(engine, plan, turn):
                seen.setdefault(key, []).append((context, seconds))
                if key[0] != "decode":  # an answer belongs to the prompt that was counted
                    done += 1
                    progress(done, total)
    timings = tuple(_timing(key, found, plan) for key, found in seen.items())
    noisy = [timing for timing in timings if timing.spread > _NOISY]
    if noisy:
        share = f"{len(noisy)} of {len(timings)} timings"
        notes.append(f"{share} vary by more than {_NOISY:.0%} between rounds: the machine was busy")
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


Sample = tuple[tuple[Kind, int, int], float, float]
"""What was timed (kind, prompt tokens, sequences), its mean context, seconds."""


def _round(engine: LlamaCpp, plan: Plan, turn: int) -> Iterator[Sample]:
    steps = plan.answer_steps
    engine.start(context=plan.all_lengths[-1] + steps)
    for length in plan.all_lengths:
        found = engine.ask(prompt=length, steps=steps, seed=turn)
        yield ("prefill", length, 1), float(length), found.prompt_s
        yield ("decode", length, 1), length + steps / 2, found.step_s
    for columns in plan.columns:
        prompt = plan.column_prompt
        engine.start(context=prompt, micro_batch=columns)
        found = engine.ask(prompt=prompt, steps=1, seed=turn)
        yield ("layers", prompt, columns), (prompt + 1) / 2, found.prompt_s * columns / prompt
    for sequences in plan.all_batches:
        prompt = plan.batch_prompt
        engine.start(context=prompt + steps, sequences=sequences)
        found = engine.ask(prompt=prompt, steps=steps, sequences=sequences, seed=turn)
        yield ("batch", prompt, sequences), prompt + steps / 2, found.step_s


def _timing(key: tuple[Kind, int, int], found: list[tuple[float, float]], plan: Plan) -> Timing:
    kind, tokens, sequences = key
    seconds = [one for _, one in found]
    lengths = plan.held_out_lengths if kind in ("prefill", "decode") else ()
    held_out = tokens in lengths or (kind == "batch" and sequences in plan.held_out_batches)
    return Timing(kind, found[0][0], sequences, median(seconds), held_out, max(seconds) / min(seconds) - 1.0)


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
