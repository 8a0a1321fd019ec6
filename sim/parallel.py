"""One pass over many requests by several threads: kernels run without Python's lock, each part on a core of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["in_parts"]

_LEAST = 500_000  # items of a part: below that a thread is not worth it


def in_parts(kernel: Callable[..., Any], count: int, *arguments: Any) -> None:
    """kernel(first, last, *arguments) over parts of 0 ... count - 1. The items must not depend on each other."""
    parts = max(1, min(os.cpu_count() or 1, count // _LEAST))
    bounds = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        kernel(0, count, *arguments)
        return
    with ThreadPoolExecutor(parts) as pool:
        done = [pool.submit(kernel, bounds[part], bounds[part + 1], *arguments) for part in range(parts)]
        for one in done:
            one.result()
