"""A request, from the door to its end; and a sequence: the request inside one replica."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Literal

import simpy

from sim.pool import EngineSettings
from sim.workloads.workload import Workload
from tests.oracle.blocks import Block, Name

__all__ = ["Ask", "Request", "Sequence", "State", "requests_of"]

State = Literal["", "completed", "rejected", "abandoned", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which device asks, and for what (fleet rules, Words)."""

    device: int
    task: int
    difficulty: float
    up_bytes: float
    down_bytes: float


@dataclass(eq=False, slots=True, kw_only=True)
class Request:
    """What was asked, and what became of it (A1)."""

    id: int
    after: int
    gap_s: float  # the workload's arrival_s: an instant, or the think time after request `after` (T2)
    prompt: int  # P
    output: int  # O
    priority: int
    patience_s: float
    deadline_s: float
    session: int
    names: list[list[Name]]  # for every pool, of its named blocks 0, 1, 2 ... (K2)
    ask: Ask | None  # of a device; None in a world without a fleet
    done: simpy.Event  # succeeds when the request reaches a terminal state

    state: State = ""  # "" until it is terminal
    reason: str = ""
    pool: int = -1
    replica: int = -1
    arrival_s: float = nan
    scheduled_s: float = nan
    first_token_s: float = nan
    finish_s: float = nan
    preemptions: int = 0
    cached_tokens: int = 0
    attempts: int = 0
    energy_j: float = 0.0
    device_j: float = 0.0
    action: int = -1  # of the last decision (W1)
    reached: int = 0  # bits (G2)
    correct: int = -1  # Q1; -1 unless it is completed
    escalated: bool = False  # a cascade that sent its pool's leg

    @property
    def terminal(self) -> bool:
        return self.state != ""

    def has_first_token(self, now: float) -> bool:
        """T4: it has its first token when that is set, and not later than now."""
        return not isnan(self.first_token_s) and self.first_token_s <= now

    def finish(self, state: State, reason: str, now: float) -> None:
        """The request becomes terminal: once, and for good. Whoever comes `after` it hears of it (T2)."""
        assert not self.terminal
        self.state, self.reason, self.finish_s = state, reason, now
        if not self.has_first_token(now):
            self.first_token_s = nan  # G4: what would have come later is forgotten
        self.done.succeed()


@dataclass(eq=False, slots=True)
class Sequence:
    """A request inside a replica. One that is dispatched again after a failure gets a new one (F1: g = 0)."""

    request: Request
    names: list[Name]  # of its named blocks 0, 1, 2 ... in this pool (K2)
    emitted: bool = False  # its first token came out of this replica (S3)
    gone: bool = False  # the request was abandoned, or has its answer elsewhere (P2)
    g: int = 0  # output tokens scheduled so far
    computed: int = 0  # tokens whose KV was scheduled so far
    target: int = 0  # P + g at admission: the tokens its prefill has to compute (C2)
    admitted_before: bool = False
    blocks: list[Block] = field(default_factory=list)  # block j holds the tokens [j * block_size, ...)
    kept: list[Block] = field(default_factory=list)  # K3: private blocks left at a preemption, in order

    @property
    def prefilled(self) -> bool:
        """Its prefill is finished: it decodes."""
        return self.computed >= self.target

    @property
    def ending(self) -> bool:
        """S4: its last token is scheduled; it waits for that step's END."""
        return self.g == self.request.output


def requests_of(workload: Workload, engines: Iterable[EngineSettings], env: simpy.Environment) -> Iterator[Request]:
    """The rows of a workload as objects; `engines` are those of the pools."""
    for r in range(len(workload)):
        yield Request(
            id=r,
            after=int(workload.after[r]),
            gap_s=float(workload.arrival_s[r]),
            prompt=int(workload.prompt_tokens[r]),
            output=int(workload.output_tokens[r]),
            priority=int(workload.priority[r]),
            patience_s=float(workload.patience_s[r]),
            deadline_s=float(workload.deadline_s[r]),
            session=int(workload.session[r]),
            names=[block_names(workload, r, engine) for engine in engines],
            ask=ask_of(workload, r),
            done=env.event(),
        )


def ask_of(workload: Workload, r: int) -> Ask | None:
    """What a device asks with request r."""
    asked = workload.asked
    if asked is None:
        return None
    return Ask(
        device=int(asked.device[r]),
        task=int(asked.task[r]),
        difficulty=float(asked.difficulty[r]),
        up_bytes=float(asked.up_bytes[r]),
        down_bytes=float(asked.down_bytes[r]),
    )


def block_names(workload: Workload, r: int, engine: EngineSettings) -> list[Name]:
    """K2: block j is named when all its tokens are named; with `prefix_caching` off none is.

    The workload names units of `name_unit_tokens` tokens, a multiple of the block size. So a block's name is
    its unit's, and its place within the unit.
    """
    if not engine.prefix_caching:
        return []
    blocks_per_unit = workload.name_unit_tokens // engine.block_size
    first = int(workload.name_start[r])
    return [
        (int(workload.name_ids[first + j // blocks_per_unit]), j % blocks_per_unit)
        for j in range(int(workload.named_tokens[r]) // engine.block_size)
    ]
