"""What is in force in a run, so that controls that overlap compose.

    end = Effects.of(world).slow("cloud", 2.0)
    yield world.timeout(60.0)
    end()

Two brown-outs of a pool multiply, and when one is over the other goes on; so do prices and weather, where a region is
up while nothing holds it down. A replica that is held down twice comes back with the second release. What a control
does to a pool directly (`pool.slow`, `pool.set_price` ...) is unknown here, and overwritten by the next change.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, proxy

if TYPE_CHECKING:
    from sim.world import PoolHandle, World

__all__ = ["Effects", "Undo"]

Undo = Callable[[], None]
"""Ends one effect, others of its kind go on. Calling it again does nothing."""


class Effects:
    """The effects on the pools and regions of one run; `Effects.of(world)` is the one that all its controls share."""

    def __init__(self, world: World) -> None:
        self._world: World = proxy(world)  # or no world would ever be forgotten
        self._states = {state.pool.name: state for state in world.plane.pools}
        self._values: defaultdict[tuple[str, str | int], dict[object, Any]] = defaultdict(dict)
        self._price: dict[str, float] = {}
        self._down: Counter[tuple[str, int]] = Counter()

    @classmethod
    def of(cls, world: World) -> Effects:
        """The effects of this run."""
        if world not in _EFFECTS:
            _EFFECTS[world] = cls(world)
        return _EFFECTS[world]

    def slow(self, pool: str | None, factor: float) -> Undo:
        """Multiply the step time of a pool (rule X2); None is the only pool, as in `World.pool`."""
        handle = self._world.pool(pool)
        return self._add(("slow", handle.name), factor, lambda factors: handle.slow(math.prod(factors)))

    def reprice(self, pool: str | None, factor: float) -> Undo:
        """Multiply the price that the pool had before the first of these effects (rule X3)."""
        handle = self._world.pool(pool)
        base = self._price.setdefault(handle.name, handle.price_usd_per_s)
        return self._add(("price", handle.name), factor, lambda factors: handle.set_price(base * math.prod(factors)))

    def weather(self, region: int, *, rtt_factor: float = 1.0, rate_factor: float = 1.0, up: bool = True) -> Undo:
        """Multiply the round trips and rates of a region's networks, or cut them off (rule N2)."""

        def apply(spells: Sequence[tuple[float, float, bool]]) -> None:
            self._world.set_weather(
                region,
                rtt_factor=math.prod(rtt for rtt, _, _ in spells),
                rate_factor=math.prod(rate for _, rate, _ in spells),
                up=all(is_up for _, _, is_up in spells),
            )

        return self._add(("weather", region), (rtt_factor, rate_factor, up), apply)

    def take_down(self, pool: str | None, replicas: Iterable[int]) -> Undo:
        """Fail these replicas at once (rule F1), and repair them when nothing else holds them down (rule F2).

        One that somebody else has failed is left alone: whoever failed it will repair it.
        """
        handle = self._world.pool(pool)
        failed = self._states[handle.name].replicas["failed"]
        mine = [(handle.name, i) for i in replicas if self._down[handle.name, i] or not failed[i]]
        _fail_at_once(handle, [one[1] for one in mine if not self._down[one]])
        self._down.update(mine)

        def release() -> None:
            self._down.subtract(mine)
            for one in mine:
                if self._down[one] == 0:
                    handle.repair(one[1])
            mine.clear()

        return release

    def _add(self, key: tuple[str, str | int], value: Any, apply: Callable[[list[Any]], None]) -> Undo:
        values, token = self._values[key], object()
        apply([*values.values(), value])
        values[token] = value

        def end() -> None:
            if token in values:
                del values[token]
                apply(list(values.values()))

        return end


_EFFECTS: WeakKeyDictionary[World, Effects] = WeakKeyDictionary()


def _fail_at_once(pool: PoolHandle, replicas: Sequence[int]) -> None:
    """None of them gets what another one loses: several get no requests before the first one fails."""
    idle = set(pool.retired) if len(replicas) > 1 else set(replicas)
    for i in replicas:
        if i not in idle:
            pool.retire(i)
    for i in replicas:
        pool.fail(i)
    for i in replicas:
        if i not in idle:
            pool.start(i)
