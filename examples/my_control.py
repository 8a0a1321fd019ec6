"""A control of one's own: any SimPy process over the world."""

from collections.abc import Generator
from typing import Any


def lunch_break(world: Any) -> Generator[Any, Any, None]:
    """Take replica 3 away for two minutes, whatever else happens."""
    yield world.timeout(120.0)
    world.pool().fail(3)
    yield world.timeout(120.0)
    world.pool().repair(3)
