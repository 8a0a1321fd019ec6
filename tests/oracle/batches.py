"""A batch: who gets how many tokens in one step, and what the step-time model may know of it (C7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.pool import StepShape
from tests.oracle.requests import Sequence

__all__ = ["Batch", "Share"]


@dataclass(eq=False, slots=True)
class Share:
    """The part of one sequence in one batch. It remembers what the END of the step has to do for it (S3)."""

    sequence: Sequence
    tokens: int
    start: int  # `computed` before this batch
    decode: bool
    emits: bool = False  # an output token comes out: a decode, or a prefill that is finished by this batch
    last: bool = False  # that token is the sequence's last (g = O)


@dataclass(eq=False, slots=True)
class Batch:
    """Shares in batch order: running sequences in order of admission, then the newly admitted."""

    budget: int  # tokens left
    shares: list[Share] = field(default_factory=list)
    preempted: bool = False  # C4: then nobody is admitted
    short_of_blocks: bool = False  # C8: admission stopped for want of blocks
    step_s: float = 0.0

    def give(self, sequence: Sequence, tokens: int) -> Share:
        """C2: tokens of the budget for a sequence."""
        assert 0 < tokens <= self.budget
        share = Share(sequence, tokens, start=sequence.computed, decode=sequence.prefilled)
        self.shares.append(share)
        self.budget -= tokens
        return share

    def take_back(self, victim: Sequence) -> None:
        """C3: a victim's tokens in this batch, if it got any, return to the budget."""
        for share in [share for share in self.shares if share.sequence is victim]:
            self.shares.remove(share)
            self.budget += share.tokens

    @property
    def tokens(self) -> int:
        return sum(share.tokens for share in self.shares)

    def shape(self, window: int) -> StepShape:
        """C7: the sums. Without sliding-window layers (`window` 0) the sums capped at the window are 0."""
        prefills = [share for share in self.shares if not share.decode]
        decodes = [share for share in self.shares if share.decode]
        attended = [share.start + i for share in prefills for i in range(1, share.tokens + 1)]
        ends = [share.start + share.tokens for share in prefills]
        contexts = [share.start + 1 for share in decodes]
        return StepShape(
            prefill_tokens=sum(share.tokens for share in prefills),
            prefill_attended=sum(attended),
            prefill_attended_window=sum(min(context, window) for context in attended),
            prefill_end=sum(ends),
            prefill_end_window=sum(min(end, window) for end in ends),
            decodes=len(decodes),
            decode_context=sum(contexts),
            decode_context_window=sum(min(context, window) for context in contexts),
            emitting=sum(share.emits for share in self.shares),
            sequences=len(self.shares),
        )
