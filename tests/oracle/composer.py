"""What is in one replica, and how the next batch is composed of it (rules C, K2 to K5, A1, A2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil

from sim.pool import PoolSettings, StepShape
from tests.oracle.batches import Batch, Share
from tests.oracle.blocks import Block, BlockPool
from tests.oracle.clock import Clock
from tests.oracle.requests import Sequence
from tests.oracle.results import ReplicaResult

__all__ = ["Composer", "StepModel"]

StepModel = Callable[[StepShape], tuple[float, float]]  # a batch's shape -> (seconds, joules)
PRIORITIES = 8


class Composer:
    """Waiting queues, running sequences and blocks of a replica, from its boot to its failure."""

    def __init__(
        self,
        pool: PoolSettings,
        step_model: StepModel,
        clock: Clock,
        booked: ReplicaResult,
    ) -> None:
        self.engine = pool.engine
        self.window = pool.window_tokens
        self.step_model = step_model
        self.clock = clock
        self.booked = booked
        self.blocks = BlockPool(pool.engine.kv_blocks)
        self.waiting: list[deque[Sequence]] = [deque() for _ in range(PRIORITIES)]
        self.running: list[Sequence] = []  # in order of admission; each occupies a slot (S4)

    # --------------------------------------------------------------------------------------------- in and out

    @property
    def waiting_count(self) -> int:
        return sum(len(line) for line in self.waiting)

    def line_of(self, sequence: Sequence) -> deque[Sequence]:
        """D5: the waiting queue of its priority class; with `fcfs` there is one class."""
        return self.waiting[0 if self.engine.scheduling == "fcfs" else sequence.request.priority]

    def join(self, sequence: Sequence) -> None:
        """D5: to the back of its waiting queue."""
        self.line_of(sequence).append(sequence)

    def withdraw(self, sequence: Sequence) -> None:
        """P2: an abandoned sequence leaves the queue at once. One that runs stays until C1 finds it."""
        if sequence in self.line_of(sequence):
            self.line_of(sequence).remove(sequence)
            self.disown(sequence)

    def remove(self, sequence: Sequence) -> None:
        """A running sequence leaves for good: its slot and its blocks are free (S3, C1)."""
        self.running.remove(sequence)
        self.give_up_blocks(sequence)

    # ---------------------------------------------------------------------------------------------- composing

    def compose(self) -> Batch:
        """C1 to C8: the next batch."""
        for sequence in sorted(self.running, key=lambda sequence: sequence.request.id):
            if sequence.gone and not sequence.ending:
                self.remove(sequence)  # C1
        batch = Batch(budget=self.engine.max_num_batched_tokens)
        self.serve_running(batch)
        for share in batch.shares:
            self.advance(share)
        if not batch.preempted:
            self.admit_waiting(batch)
        if batch.shares:
            self.book(batch)
        return batch

    def serve_running(self, batch: Batch) -> None:
        """C2: running sequences come first, in order of admission, while there are blocks for them (C3).

        Nobody's `computed` and `g` move before all have their tokens: so a victim's are easily taken back.
        """
        for sequence in list(self.running):
            if sequence not in self.running or sequence.ending:
                continue  # it was a victim meanwhile; or its last token is in a step that has not ended (S4)
            tokens = 1 if sequence.prefilled else min(sequence.target - sequence.computed, batch.budget)
            if tokens == 0:
                continue
            if self.find_room(sequence, tokens, batch):
                batch.give(sequence, tokens)

    def find_room(self, sequence: Sequence, tokens: int, batch: Batch) -> bool:
        """C3: blocks for these tokens, at the cost of victims. False if the sequence was its own victim."""
        needed = self.blocks_for(sequence.computed + tokens) - len(sequence.blocks)
        while len(self.blocks.free) < needed:
            victim = self.victim()
            batch.take_back(victim)
            batch.preempted = True
            self.preempt(victim)
            if victim is sequence:
                return False
        sequence.blocks += [self.blocks.take() for _ in range(needed)]
        return True

    def victim(self) -> Sequence:
        """C3: the last admitted; with `priority` the one with the largest (priority, request id).

        S4: never one whose last token is in an earlier batch.
        """
        candidates = [sequence for sequence in self.running if not sequence.ending]
        if self.engine.scheduling == "fcfs":
            return candidates[-1]
        return max(candidates, key=lambda sequence: (sequence.request.priority, sequence.request.id))

    def preempt(self, victim: Sequence) -> None:
        """C6: its blocks and its slot are freed, and it goes to the front of its queue. It keeps g."""
        self.running.remove(victim)
        private = self.give_up_blocks(victim)
        if self.engine.prefix_caching:  # K2: off means nothing is kept
            victim.kept = private
            for block in private:
                block.owner = victim
        victim.computed = 0
        victim.request.preemptions += 1
        self.line_of(victim).appendleft(victim)

    def admit_waiting(self, batch: Batch) -> None:
        """C4: waiting requests are admitted while tokens, slots and blocks last."""
        while batch.budget > 0 and len(self.running) < self.engine.max_num_seqs and self.waiting_count > 0:
            sequence = next(line for line in self.waiting if line)[0]
            target = sequence.request.prompt + sequence.g
            hits = self.hits(sequence, target)
            hit = len(hits) * self.engine.block_size
            chunk = min(target - hit, batch.budget)
            if chunk < target - hit and not self.engine.chunked_prefill:
                return
            new = self.blocks_for(hit + chunk) - len(hits)
            if new + self.blocks.free_among(hits) > len(self.blocks.free):
                batch.short_of_blocks = True
                return
            self.line_of(sequence).popleft()
            self.running.append(sequence)
            sequence.blocks = [self.blocks.use(block) for block in hits]
            sequence.blocks += [self.blocks.take() for _ in range(new)]
            self.disown(sequence)
            sequence.target, sequence.computed = target, hit
            if not sequence.admitted_before:  # A1
                sequence.admitted_before = True
                sequence.request.scheduled_s = self.clock.now
                sequence.request.cached_tokens = hit
            self.advance(batch.give(sequence, chunk))

    def advance(self, share: Share) -> None:
        """C5: the tokens of this share are scheduled. A finished prefill emits one; so does every decode."""
        sequence = share.sequence
        sequence.computed += share.tokens
        if not share.decode:
            self.publish_full_blocks(sequence)
        if sequence.prefilled:
            sequence.g += 1
            share.emits = True
            share.last = sequence.ending

    def book(self, batch: Batch) -> None:
        """C7: how long the step will take. C8: what held back those who wait. A2: who pays for the energy."""
        shape = batch.shape(self.window)
        batch.step_s, energy_j = self.step_model(shape)
        assert batch.step_s > 0, "T1: a step takes time"
        self.booked.prefill_tokens += shape.prefill_tokens
        self.booked.decode_tokens += shape.decodes
        self.booked.energy_j += energy_j
        for share in batch.shares:
            share.sequence.request.energy_j += energy_j * share.tokens / batch.tokens
        if self.waiting_count > 0:
            if batch.preempted or batch.short_of_blocks:
                cause = "kv"
            elif len(self.running) >= self.engine.max_num_seqs:
                cause = "seqs"
            else:
                cause = "tokens"
            self.booked.blocked_s[cause] += batch.step_s

    # ----------------------------------------------------------------------------------- blocks of a sequence

    def blocks_for(self, tokens: int) -> int:
        return ceil(tokens / self.engine.block_size)

    def hits(self, sequence: Sequence, target: int) -> list[Block]:
        """K3: what a sequence finds at admission: the named prefix, then perhaps its own private blocks."""
        limit = (target - 1) // self.engine.block_size
        names = sequence.names
        found = self.blocks.find(names, limit)
        if len(found) == len(names):
            for block in sequence.kept:
                if len(found) == limit or block.owner is not sequence:
                    break
                found.append(block)
        return found

    def publish_full_blocks(self, sequence: Sequence) -> None:
        """K4: every full block with a name goes into the cache under it, unless it is there."""
        full = sequence.computed // self.engine.block_size
        for j, name in enumerate(sequence.names[:full]):
            if sequence.blocks[j].name is None:
                sequence.blocks[j] = self.blocks.publish(sequence.blocks[j], name)

    def give_up_blocks(self, sequence: Sequence) -> list[Block]:
        """K4, K5: publish what filled up during decoding, then free all. Returns the full unnamed blocks."""
        self.publish_full_blocks(sequence)
        self.blocks.give_back(sequence.blocks)
        full = sequence.computed // self.engine.block_size
        private = sequence.blocks[len(sequence.names) : full]
        sequence.blocks = []
        return private

    def disown(self, sequence: Sequence) -> None:
        """K3, P2: private blocks left behind and not used again stay in the free queue, without owner."""
        for block in sequence.kept:
            if block.owner is sequence:
                block.owner = None
        sequence.kept = []
