"""KV blocks of one replica: who uses them, in which order they are free, what prefix they hold (rules K)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Block", "BlockPool", "Name"]

Name = tuple[int, int]  # (name of the unit, the block's place in it): equal names mean equal content


@dataclass(eq=False, slots=True)
class Block:
    """Room for the keys and values of `block_size` tokens."""

    number: int
    name: Name | None = None  # set exactly while the block is in the cache under that name
    users: int = 0  # sequences that hold it; 0 exactly while it lies in the free queue
    owner: object | None = None  # the preempted sequence whose private content is still untouched in it (K3)


class BlockPool:
    """`kv_blocks` blocks, the queue of the free ones, and the prefix cache."""

    def __init__(self, size: int) -> None:
        self.blocks = [Block(number) for number in range(size)]
        self.free: OrderedDict[int, Block] = OrderedDict((block.number, block) for block in self.blocks)
        self.cache: dict[Name, Block] = {}

    def find(self, names: Sequence[Name], limit: int) -> list[Block]:
        """K3, first half: the longest run of leading named blocks in the cache, used or free; <= `limit`."""
        found: list[Block] = []
        for name in names[:limit]:
            if name not in self.cache:
                break
            found.append(self.cache[name])
        return found

    def free_among(self, blocks: Sequence[Block]) -> int:
        """C4: how many of these lie in the free queue, so that to use them takes them from it."""
        return sum(block.users == 0 for block in blocks)

    def use(self, block: Block) -> Block:
        """K3: one more sequence holds this block for its content; it is free no longer."""
        if block.users == 0:
            del self.free[block.number]
        block.users += 1
        block.owner = None
        return block

    def take(self) -> Block:
        """K1: a new block, from the front of the free queue. K6: what it held is forgotten, its name too."""
        _, block = self.free.popitem(last=False)
        if block.name is not None:
            del self.cache[block.name]
            block.name = None
        block.owner = None
        block.users = 1
        return block

    def publish(self, block: Block, name: Name) -> Block:
        """K4: `block` is full, and gets its name. Returns what to use from now on: it, or its cached twin."""
        assert block.name is None
        assert block.users == 1
        twin = self.cache.get(name)
        if twin is None:
            block.name = name
            self.cache[name] = block
            return block
        self.use(twin)
        block.users = 0
        self.free[block.number] = block
        self.free.move_to_end(block.number, last=False)
        return twin

    def give_back(self, blocks: Sequence[Block]) -> None:
        """K5: to the back of the free queue, last block first; a shared one when its last user leaves."""
        for block in reversed(blocks):
            block.users -= 1
            if block.users == 0:
                self.free[block.number] = block

    def audit(self) -> None:
        """Nothing is lost and nothing is doubled: the invariants of the three structures."""
        for block in self.blocks:
            assert block.users >= 0
            assert (block.users == 0) == (block.number in self.free), "a block is free or used"
            assert block.name is None or self.cache.get(block.name) is block, "a name leads to its block"
            assert block.name is not None or block.users <= 1, "only named blocks are shared"
            assert block.owner is None or not (block.users or block.name), "private means free and unnamed"
        assert all(block.name == name for name, block in self.cache.items())
        assert len(self.free) <= len(self.blocks)
