"""A binary heap of (key, value) pairs in two flat arrays, smallest pair first. The caller keeps the length."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel


@kernel
def push(keys: Any, values: Any, length: int, key: float, value: int) -> None:
    """Add a pair to a heap of `length` pairs; the arrays must have room for one more."""
    child = length
    while child > 0:
        parent = (child - 1) >> 1
        if keys[parent] < key or (keys[parent] == key and values[parent] <= value):
            break
        keys[child] = keys[parent]
        values[child] = values[parent]
        child = parent
    keys[child] = key
    values[child] = value


@kernel
def replace_top(keys: Any, values: Any, length: int, key: float, value: int) -> None:
    """Put a pair in place of the smallest one."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= length:
            break
        right = child + 1
        if right < length and (
            keys[right] < keys[child] or (keys[right] == keys[child] and values[right] < values[child])
        ):
            child = right
        if key < keys[child] or (key == keys[child] and value <= values[child]):
            break
        keys[parent] = keys[child]
        values[parent] = values[child]
        parent = child
    keys[parent] = key
    values[parent] = value


@kernel
def pop(keys: Any, values: Any, length: int) -> None:
    """Remove the smallest pair of a heap of `length` pairs."""
    last = length - 1
    if last > 0:
        replace_top(keys, values, last, keys[last], values[last])


@kernel
def push_packed(heap: Any, length: int, item: int) -> None:
    """Add an integer to a heap of `length` integers (the finishing order packs (step, request) into one)."""
    child = length
    while child > 0:
        parent = (child - 1) >> 1
        if heap[parent] <= item:
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = item


@kernel
def replace_packed(heap: Any, length: int, at: int, item: int) -> None:
    """Put an integer in place of the one at position `at`, wherever it belongs from there."""
    while at > 0 and heap[(at - 1) >> 1] > item:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    while True:
        child = 2 * at + 1
        if child >= length:
            break
        if child + 1 < length and heap[child + 1] < heap[child]:
            child += 1
        if item <= heap[child]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item


@kernel
def remove_packed(heap: Any, length: int, item: int) -> None:
    """Remove one integer that is known to be in a heap of `length` integers."""
    at = 0
    while heap[at] != item:
        at += 1
    last = length - 1
    if at != last:
        replace_packed(heap, last, at, heap[last])
