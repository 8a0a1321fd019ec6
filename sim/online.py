"""Decisions of a simulated fleet, one by one: logged with their chances and outcomes, or made by a bandit that learns.

    logged = LogDecisions(writer, share=0.1)
    prepared = watched(prepare(...), logged)
    outcome = run(prepared)
    logged.finish(outcome.plane)

The policy decides as the compiled plane would: same features, same scorer, same first among equals. A control looks at
the plane every few seconds for decisions whose request has ended; it changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from policies import ActionView, DeviceView, RequestView
from policies.checking.scoring import phi_of
from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.bandit import Bandit
from policies.learning.behaviour import Behaviour, Scored
from policies.learning.decision_log import Decision, DecisionWriter, Ending, policy_version
from policies.learning.exploring import Choice, draw
from policies.learning.utility import UNANSWERED_S, Utility, as_counted
from profiles.errors import UserError
from sim.controls.specs import PolicyRolloutSpec
from sim.kernels.fleet_state import REACHED_CLOUD, REACHED_EDGE_POOL
from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REJECTED
from sim.run import Prepared

if TYPE_CHECKING:
    from sim.fleet import FleetSettings
    from sim.plane import DataPlane
    from sim.world import World

__all__ = [
    "BanditDecisions",
    "Decider",
    "Exploring",
    "LogDecisions",
    "Taken",
    "Watcher",
    "ending_of",
    "reward_of",
    "watched",
]

EVERY_S = 5.0  # between two looks at what has ended

_STATES = {COMPLETED: "completed", REJECTED: "rejected", ABANDONED: "abandoned", FAILED: "failed"}
_COST = FEATURE_NAMES.index("cost_usd")
_KIND_NUMBERS = {kind: k for k, kind in enumerate(KINDS)}


class Taken(NamedTuple):
    """A decision as it was made."""

    request: RequestView
    actions: list[ActionView]
    phi: NDArray[np.float64]
    """(A, features)"""
    kinds: NDArray[np.int8]
    scores: NDArray[np.float64]
    choice: Choice
    """`action` is a position in `actions`."""
    version: str
    """Of the policy, when it decided: a bandit changes."""


class Watcher(Protocol):
    """What `watched` puts in the place of a policy."""

    def begin(self, prepared: Prepared) -> str:
        """Learn what is to be routed, and by which policy. Returns what to call the result."""

    def __call__(self, request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        """Route a request."""

    def look(self, plane: DataPlane) -> None:
        """Take in what has ended since."""


def watched(prepared: Prepared, watcher: Watcher, *, every_s: float = EVERY_S) -> Prepared:
    """The same run, decided through a watcher. Raises `UserError` where the chances of decisions are not known."""
    if prepared.fleet is None or prepared.routing is None:
        raise UserError("decisions are those of a fleet, and this scenario has none", next_step="add fleet: to it")
    if prepared.routing.router is not None:
        raise UserError("the chances of a policy in Python are not known", got=prepared.routing.name,
                        next_step="log a policy of weights: a built-in, or FILE.yaml")  # fmt: skip
    if any(isinstance(one, PolicyRolloutSpec) for one in prepared.loaded.scenario.controls):
        raise UserError("a policy-rollout changes the policy while it is logged", next_step="take it out of controls")
    name = watcher.begin(prepared)

    def looking(world: World) -> Generator[Any, Any, None]:
        while True:
            yield world.timeout(every_s)
            watcher.look(world.plane)

    return replace(
        prepared, routing=replace(prepared.routing, name=name, router=watcher), controls=(*prepared.controls, looking)
    )


class Decider(ABC):
    """φ of every decision, and the decisions whose request has not ended."""

    def begin(self, prepared: Prepared) -> str:
        """See `Watcher`."""
        assert prepared.fleet is not None
        assert prepared.routing is not None
        fleet: FleetSettings = prepared.fleet
        self._limit_s = {task.name: task.slo_ttft_s for task in fleet.tasks}
        self._number = {task.name: t for t, task in enumerate(fleet.tasks)}
        self.tasks = fleet.task_names
        self._table = prepared.routing.table
        self.name = prepared.routing.name
        self._table_version = policy_version(self._table)
        self.offered = tuple(kind for kind, used in zip(KINDS, self._table.kinds, strict=True) if used)
        self._open: dict[tuple[int, int], Taken] = {}
        return self.name

    def __call__(self, request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        limit_s = self._limit_s[request.task]
        phi = np.array([phi_of(request, device, action, limit_s) for action in actions])
        kinds = np.array([_KIND_NUMBERS[action.kind] for action in actions], np.int8)
        version = self.version
        scores, choice = self.decide(request, phi, kinds)
        self._open[request.id, request.attempt] = Taken(request, actions, phi, kinds, scores, choice, version)
        return actions[choice.action].index

    @property
    def version(self) -> str:
        """Stands for whoever decides now: decisions of the same version are those of the same policy."""
        return self._table_version

    @abstractmethod
    def decide(
        self, request: RequestView, phi: NDArray[np.float64], kinds: NDArray[np.int8]
    ) -> tuple[NDArray[np.float64], Choice]:
        """Scores of the actions, and the one that is taken."""

    def look(self, plane: DataPlane) -> None:
        """Hand on, in order of requests, the decisions whose request has ended."""
        keys = list(self._open)
        if not keys:
            return
        status = plane.requests["status"][np.array([request for request, _ in keys])]
        for key, ended in zip(keys, ((status >= COMPLETED) & (status <= FAILED)).tolist(), strict=True):
            if ended:
                taken = self._open.pop(key)
                self.ended(taken, ending_of(plane, taken))

    @abstractmethod
    def ended(self, taken: Taken, ending: Ending) -> None:
        """Hear what came of a decision."""

    def logged(self, taken: Taken, *, policy: str) -> Decision:
        """A decision as the log wants it: what the masks forbid was never offered, so all actions are feasible."""
        return Decision(
            policy=policy,
            policy_version=taken.version,
            request_id=str(taken.request.id),
            attempt=taken.request.attempt,
            time_s=taken.request.now_s,
            task=taken.request.task,
            privacy=taken.request.privacy,
            offered=self.offered,
            kinds=tuple(action.kind for action in taken.actions),
            pools=tuple(action.pool for action in taken.actions),
            feasible=(True,) * len(taken.actions),
            phi=taken.phi,
            scores=tuple(taken.scores.tolist()),
            chosen=taken.choice.action,
            propensity=taken.choice.propensity,
        )


class Exploring(Decider):
    """Follows the policy of the scenario, and explores in a `share` of its decisions."""

    def __init__(self, share: float) -> None:
        self._share = share

    def begin(self, prepared: Prepared) -> str:
        name = super().begin(prepared)
        self._behaviour = Behaviour(self._table, share=self._share, seed=prepared.seed)
        return f"{name}, exploring {100 * self._share:g} %" if self._share else name

    def decide(
        self, request: RequestView, phi: NDArray[np.float64], kinds: NDArray[np.int8]
    ) -> tuple[NDArray[np.float64], Choice]:
        feasible = np.ones(len(phi), np.bool_)
        scored: Scored = self._behaviour.scored(phi, kinds, self._number[request.task], feasible)
        return scored.scores, self._behaviour.choose(scored, feasible, str(request.id), request.attempt)


class LogDecisions(Exploring):
    """The policy of the scenario, exploring in a `share` of its decisions, every decision written down.

    Without a writer decisions are only made: that is how `taken` of a policy is compared with another's.
    """

    def __init__(self, writer: DecisionWriter | None, *, share: float = 0.0, utility: Utility | None = None) -> None:
        super().__init__(share)
        self._writer = writer
        self._utility = utility
        self.rewards: dict[int, float] = {}
        """With a utility: that of each request."""

    def ended(self, taken: Taken, ending: Ending) -> None:
        if self._writer is not None:
            self._writer.append(self.logged(taken, policy=self.name), ending)
        if self._utility is not None:
            self.rewards[taken.request.id] = reward_of(ending, self._utility)


class BanditDecisions(Decider):
    """A bandit in the place of the scenario's policy, which decides until the bandit trusts itself."""

    def __init__(self, make: Any, utility: Utility, *, writer: DecisionWriter | None = None) -> None:
        """`make` is called with (task names, seed) and returns the `Bandit`."""
        self._make = make
        self._utility = utility
        self._writer = writer
        self.rewards: dict[int, float] = {}
        self.explored: dict[int, bool] = {}

    def begin(self, prepared: Prepared) -> str:
        name = super().begin(prepared)
        self._behaviour = Behaviour(self._table)
        self._seed = prepared.seed
        self.bandit: Bandit = self._make(self.tasks, prepared.seed)
        return f"bandit, from {name}"

    @property
    def version(self) -> str:
        return self.bandit.version(self._table_version)

    def decide(
        self, request: RequestView, phi: NDArray[np.float64], kinds: NDArray[np.int8]
    ) -> tuple[NDArray[np.float64], Choice]:
        feasible = np.ones(len(phi), np.bool_)
        scored = self._behaviour.scored(phi, kinds, self._number[request.task], feasible)
        before = self.bandit.deviations
        u = draw(self._seed, str(request.id), request.attempt)[0]
        choice = self.bandit.choose(phi, kinds, request.task, feasible, u, start=scored.favourite)
        self.explored[request.id] = self.bandit.deviations > before
        return scored.scores, choice

    def ended(self, taken: Taken, ending: Ending) -> None:
        reward = reward_of(ending, self._utility)
        a = taken.choice.action
        self.bandit.learn(taken.phi[a], int(taken.kinds[a]), taken.request.task, reward)
        self.rewards[taken.request.id] = reward
        if self._writer is not None:
            self._writer.append(self.logged(taken, policy="bandit"), ending)


def ending_of(plane: DataPlane, taken: Taken) -> Ending:
    """What came of a request that has ended; its cost is the one that was predicted."""
    request, trip = plane.requests[taken.request.id], plane.trips[taken.request.id]
    first, finish, arrival = (float(request[name]) for name in ("first_token", "finish", "arrival"))
    went_out = int(trip["reached"]) & (REACHED_EDGE_POOL | REACHED_CLOUD)
    answered = int(request["status"]) == COMPLETED
    return Ending(
        state=_STATES[int(request["status"])],
        correct=float(trip["correct"]) if answered else None,
        ttft_s=first - arrival if np.isfinite(first) else None,
        e2e_s=finish - arrival,
        energy_j=float(trip["device_j"]),
        cost_usd=float(taken.phi[taken.choice.action, _COST]),
        egress_bytes=float(trip["up_bytes"]) if went_out else 0.0,
        prompt_tokens=int(request["prompt"]),
        output_tokens=int(request["output"]) if answered else None,
    )


def reward_of(ending: Ending, utility: Utility) -> float:
    """The utility of one outcome, as `policies.learning.decisions` counts it."""
    assert ending.e2e_s is not None
    counted = as_counted(
        answered=ending.state == "completed",
        right=ending.correct or 0.0,
        ttft_s=ending.ttft_s if ending.ttft_s is not None else max(ending.e2e_s, UNANSWERED_S),
        e2e_s=ending.e2e_s,
    )
    return utility.of(
        {name: float(value) for name, value in counted.items()}
        | {
            "cost_usd": ending.cost_usd or 0.0,
            "energy_j": ending.energy_j or 0.0,
            "egress_mb": (ending.egress_bytes or 0.0) / 1e6,
        }
    )
