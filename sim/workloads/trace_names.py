"""Prefix names of a trace: from block hashes to names that identify all before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.workloads.workload import Ints

__all__ = ["NAME_UNIT_TOKENS", "Names", "chain_names"]

NAME_UNIT_TOKENS = 512  # Mooncake hashes blocks of 512 tokens


@dataclass(frozen=True, slots=True)
class Names:
    """The name columns of a workload; `distinct` is how many names there are (they are 0, 1, 2 ...)."""

    tokens: Ints
    start: Ints
    ids: Ints
    distinct: int

    def repeated(self, wanted: int, *, distinct: bool) -> Names:
        """The requests again and again; with `distinct` a repetition shares no name with another."""
        tokens, start = np.resize(self.tokens, wanted), np.resize(self.start, wanted)
        if not distinct or not self.distinct:
            return Names(tokens, start, self.ids, self.distinct)
        n, length = len(self.tokens), len(self.ids)
        turns = -(-wanted // n)
        start = start + np.arange(wanted) // n * length
        ids = (self.ids[None, :] + np.arange(turns)[:, None] * self.distinct).ravel()
        used = int((start + -(-tokens // NAME_UNIT_TOKENS)).max())
        return Names(tokens, start, ids[:used], self.distinct * turns)


def chain_names(hashes: NDArray[Any] | None, prompt: Ints, notes: list[str]) -> Names:
    """Names for prompts with one hash per 512 tokens (`hashes`: a list a request, or None).

    The name of a block stands for (name of the block before, hash), numbered as they first appear: names then
    identify prefixes even where hashes identify blocks alone.
    """
    n = len(prompt)
    if hashes is None:
        return Names(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(0, np.int64), 0)
    needed = -(-prompt // NAME_UNIT_TOKENS)
    known: dict[tuple[int, int], int] = {}
    ids: list[int] = []
    counts = np.empty(n, dtype=np.int64)
    odd = 0
    for request, (row, blocks) in enumerate(zip(hashes, needed.tolist(), strict=True)):
        odd += len(row) != blocks
        before = len(ids)
        name = -1
        for block in row[:blocks]:
            name = known.setdefault((name, block), len(known))
            ids.append(name)
        counts[request] = len(ids) - before
    if odd:
        notes.append(f"{odd} rows hold another number of hash_ids than their prompt has blocks of 512 tokens")
    relabelled = len(known) - len({block for _, block in known})
    if relabelled:
        notes.append(f"{relabelled} blocks got a name of their own because one hash follows different prefixes")
    start = np.cumsum(counts) - counts
    tokens = np.minimum(prompt, counts * NAME_UNIT_TOKENS)
    return Names(tokens, start, np.array(ids, dtype=np.int64), len(known))
