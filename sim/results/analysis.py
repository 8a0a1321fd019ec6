"""What results need of a finished run, each worked out once and on demand.

    analysis = Analysis(outcome)
    analysis.timeline

The summary, the files and the report of one run share one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from sim.results.answers import Answers, answers_of
from sim.results.invariants import check_invariants
from sim.results.latencies import Latencies
from sim.results.outcome import Outcome
from sim.results.pool_book import PoolBook, pool_book
from sim.results.replicas import Bins
from sim.results.timeline import Timeline, bins_of, build_timeline, span_of

__all__ = ["Analysis"]


class Analysis:
    """Views of one outcome. Raises ValueError when a request of it is not terminal."""

    def __init__(self, outcome: Outcome) -> None:
        if not outcome.plane.done:
            raise ValueError("the run is not over: some requests are still in flight")
        self.outcome = outcome
        self.plane = outcome.plane

    @cached_property
    def span_s(self) -> float:
        """From instant 0 to the last end of any request."""
        return span_of(self.plane.requests)

    @cached_property
    def bins(self) -> Bins:
        """The bins of the timeline."""
        return bins_of(self.plane, self.span_s)

    @cached_property
    def answers(self) -> Answers | None:
        """Who answered what; None without a fleet."""
        return None if self.plane.fleet is None else answers_of(self.plane)

    @cached_property
    def timeline(self) -> Timeline:
        """The run over time."""
        return build_timeline(self.plane, self.answers)

    @cached_property
    def latencies(self) -> Latencies:
        """Who counts, and who met which limit."""
        return Latencies(self.outcome)

    @cached_property
    def invariants(self) -> list[dict[str, Any]]:
        """The findings of `sim.results.invariants`."""
        return check_invariants(self.outcome, self.timeline, self.answers)

    def books(self) -> Iterator[PoolBook]:
        """One pool after the other; a book is large, and nobody keeps two."""
        for number in range(len(self.plane.pools)):
            yield pool_book(self.plane, number, self.bins, self.answers)
