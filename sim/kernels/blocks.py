"""KV blocks: the free queue, the prefix cache, taking and freeing (rules K1 to K6).

The free queue is a doubly linked list of *nodes*. A node is either a run of private blocks, known only by their number,
or one named block. Without prefix sharing all free blocks sit in one or two runs, and taking or freeing any number of
blocks is a few additions; the block-by-block truth is kept by the oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.state import NO_NAME, NOBODY
from sim.kernels.views import name_id, node_of, replica_of, request_of, table_names_of, table_nodes_of


@kernel
def ceil_div(a: int, b: int) -> int:
    """Smallest integer >= a / b for a >= 0, b > 0."""
    return (a + b - 1) // b


# -- names -------------------------------------------------------------------------------------------------------------


@kernel
def block_name(s: Any, request: Any, block: int) -> int:
    """The name of block `block` of a request; the caller knows that it is named."""
    unit = s.name_unit
    return name_id(s, request.name_start + block // unit) * unit + block % unit


@kernel
def slot_of(name: int, mask: int) -> int:
    """The home position of a name in the table."""
    word = np.uint64(name) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((word ^ (word >> np.uint64(32))) & np.uint64(mask))  # type: ignore[return-value]


@kernel
def look_up(s: Any, i: int, name: int) -> int:
    """The node that holds a name in replica i, or NOBODY."""
    names = table_names_of(s, i)
    mask = len(names) - 1
    at = slot_of(name, mask)
    while names[at] != NO_NAME:
        if names[at] == name:
            return table_nodes_of(s, i)[at]
        at = (at + 1) & mask
    return NOBODY


@kernel
def enter_name(s: Any, i: int, name: int, node: int) -> None:
    """Add a name that is not in the table."""
    names = table_names_of(s, i)
    mask = len(names) - 1
    at = slot_of(name, mask)
    while names[at] != NO_NAME:
        at = (at + 1) & mask
    names[at] = name
    table_nodes_of(s, i)[at] = node


@kernel
def forget_name(s: Any, i: int, name: int) -> None:
    """Remove a name that is in the table, closing the gap (linear probing without tombstones)."""
    names = table_names_of(s, i)
    holders = table_nodes_of(s, i)
    mask = len(names) - 1
    at = slot_of(name, mask)
    while names[at] != name:
        at = (at + 1) & mask
    gap = at
    while True:
        at = (at + 1) & mask
        if names[at] == NO_NAME:
            break
        home = slot_of(names[at], mask)
        if ((at - home) & mask) >= ((at - gap) & mask):
            names[gap] = names[at]
            holders[gap] = holders[at]
            gap = at
    names[gap] = NO_NAME


# -- the free queue ----------------------------------------------------------------------------------------------------


@kernel
def new_node(s: Any, i: int, name: int, count: int, owner: int) -> int:
    replica = replica_of(s, i)
    at = replica.spare
    if at == NOBODY:
        at = replica.fresh
        replica.fresh += 1
    else:
        replica.spare = node_of(s, i, at).behind
    node = node_of(s, i, at)
    node.name = name
    node.count = count
    node.owner = owner
    node.users = 0
    return at


@kernel
def drop_node(s: Any, i: int, at: int) -> None:
    node_of(s, i, at).behind = replica_of(s, i).spare
    replica_of(s, i).spare = at


@kernel
def link_back(s: Any, i: int, at: int) -> None:
    replica = replica_of(s, i)
    node = node_of(s, i, at)
    node.before = replica.back
    node.behind = NOBODY
    if replica.back == NOBODY:
        replica.front = at
    else:
        node_of(s, i, replica.back).behind = at
    replica.back = at


@kernel
def link_front(s: Any, i: int, at: int) -> None:
    replica = replica_of(s, i)
    node = node_of(s, i, at)
    node.before = NOBODY
    node.behind = replica.front
    if replica.front == NOBODY:
        replica.back = at
    else:
        node_of(s, i, replica.front).before = at
    replica.front = at


@kernel
def unlink(s: Any, i: int, at: int) -> None:
    replica = replica_of(s, i)
    node = node_of(s, i, at)
    if node.before == NOBODY:
        replica.front = node.behind
    else:
        node_of(s, i, node.before).behind = node.behind
    if node.behind == NOBODY:
        replica.back = node.before
    else:
        node_of(s, i, node.behind).before = node.before


@kernel
def is_ownerless_run(s: Any, i: int, at: int) -> bool:
    return bool(at != NOBODY and node_of(s, i, at).name == NO_NAME and node_of(s, i, at).owner == NOBODY)


@kernel
def free_private(s: Any, i: int, count: int, owner: int) -> int:
    """Private blocks go to the back; those of a sequence that may return keep their owner. Returns their node."""
    replica = replica_of(s, i)
    replica.free += count
    if owner == NOBODY and is_ownerless_run(s, i, replica.back):
        node_of(s, i, replica.back).count += count
        return int(replica.back)
    at = new_node(s, i, NO_NAME, count, owner)
    link_back(s, i, at)
    return at


@kernel
def free_one_front(s: Any, i: int) -> None:
    """One block without content goes to the front (rule K4)."""
    replica = replica_of(s, i)
    replica.free += 1
    if is_ownerless_run(s, i, replica.front):
        node_of(s, i, replica.front).count += 1
    else:
        link_front(s, i, new_node(s, i, NO_NAME, 1, NOBODY))


@kernel
def take(s: Any, i: int, count: int) -> None:
    """Take blocks from the front; the caller knows that there are enough (rules K1, K6)."""
    replica = replica_of(s, i)
    replica.free -= count
    while count > 0:
        at = replica.front
        node = node_of(s, i, at)
        if node.count > count:
            node.count -= count
            return
        count -= node.count
        if node.name != NO_NAME:
            forget_name(s, i, node.name)
        elif node.owner != NOBODY:
            request_of(s, node.owner).run = NOBODY
        unlink(s, i, at)
        drop_node(s, i, at)


# -- what a sequence does ----------------------------------------------------------------------------------------------


@kernel
def named_hits(s: Any, i: int, r: int, target: int) -> int:
    """Leading named blocks of request r that replica i has, in use or free (rule K3 without the private part).

    A name implies everything before it, holders hold from the first block on, and blocks are freed last first: so what
    is present is always a prefix, and its end is found by bisection.
    """
    if s.prefix_caching == 0:
        return 0
    request = request_of(s, r)
    low = 0
    high = min(request.named_tokens, target - 1) // s.block_size
    while low < high:
        middle = (low + high) // 2
        if look_up(s, i, block_name(s, request, middle)) != NOBODY:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def private_hits(s: Any, i: int, r: int, target: int, named: int) -> int:
    """Blocks of its own that a preempted sequence finds again behind its named ones (rule K3)."""
    request = request_of(s, r)
    size = s.block_size
    if request.run == NOBODY or named != request.named_tokens // size:
        return 0
    return max(0, min(request.run_full, node_of(s, i, request.run).count, (target - 1) // size - named))


@kernel
def hits_in_queue(s: Any, i: int, r: int, named: int) -> int:
    """How many of the first `named` blocks lie in the free queue; those in use come before them."""
    low = 0
    high = named
    while low < high:
        middle = (low + high) // 2
        if node_of(s, i, look_up(s, i, block_name(s, request_of(s, r), middle))).users > 0:
            low = middle + 1
        else:
            high = middle
    return named - low


@kernel
def claim(s: Any, i: int, r: int, named: int, private: int) -> None:
    """Use the hit blocks: out of the free queue, one more user (rule K3)."""
    replica = replica_of(s, i)
    request = request_of(s, r)
    for block in range(named):
        at = look_up(s, i, block_name(s, request, block))
        if node_of(s, i, at).users == 0:
            unlink(s, i, at)
            replica.free -= 1
        node_of(s, i, at).users += 1
    request.published = named
    if private > 0:
        replica.free -= private
        node_of(s, i, request.run).count -= private
    abandon_run(s, i, r)


@kernel
def abandon_run(s: Any, i: int, r: int) -> None:
    """The kept private blocks of a request lose their owner but keep their place."""
    at = request_of(s, r).run
    if at != NOBODY:
        request_of(s, r).run = NOBODY
        node_of(s, i, at).owner = NOBODY
        if node_of(s, i, at).count == 0:
            unlink(s, i, at)
            drop_node(s, i, at)


@kernel
def publish(s: Any, i: int, r: int, computed: int) -> None:
    """Name the blocks that are full with `computed` tokens (rule K4)."""
    request = request_of(s, r)
    if s.prefix_caching == 0:
        return
    full = min(request.named_tokens, computed) // s.block_size
    for block in range(request.published, full):
        name = block_name(s, request, block)
        at = look_up(s, i, name)
        if at == NOBODY:
            at = new_node(s, i, name, 1, NOBODY)
            enter_name(s, i, name, at)
        else:
            if node_of(s, i, at).users == 0:
                unlink(s, i, at)
                replica_of(s, i).free -= 1
            free_one_front(s, i)
        node_of(s, i, at).users += 1
    request.published = max(request.published, full)


@kernel
def give_up(s: Any, i: int, r: int, computed: int, held: int, returns: bool) -> None:
    """Free all blocks of a sequence that holds `held` of them, last block first (rules K4, K5)."""
    request = request_of(s, r)
    publish(s, i, r, computed)
    named = request.published
    keeps = returns and s.prefix_caching != 0
    if held > named:
        at = free_private(s, i, held - named, r if keeps else NOBODY)
        if keeps:
            request.run = at
            request.run_full = computed // s.block_size - named
    for back in range(named):
        at = look_up(s, i, block_name(s, request, named - 1 - back))
        node = node_of(s, i, at)
        node.users -= 1
        if node.users == 0:
            link_back(s, i, at)
            replica_of(s, i).free += 1
    request.published = 0
