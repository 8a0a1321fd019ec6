"""Where to: actions, masks, scores, and which policy a device follows (rules W1 to W5, W7)."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

from policies.layout import KINDS
from policies.table import PolicyTable
from sim.fleet import FleetSettings, TaskKind
from tests.oracle.figures import (
    Figures,
    Way,
    at_a_pool,
    at_a_row,
    both,
    in_turn,
    on_a_hub,
    phi,
    probit,
    sharpness,
    sigma,
)
from tests.oracle.links import Air, quantile
from tests.oracle.pools import Pool
from tests.oracle.radios import Radio
from tests.oracle.requests import Ask, Request
from tests.oracle.rows import Row

__all__ = ["Decider", "Policies"]


class Policies:
    """W7: the base, and what is being rolled out."""

    def __init__(self, base: PolicyTable, seed: int, air: Air) -> None:
        self.base, self.new, self.share = base, base, 0.0
        self.seed = seed
        self.air = air

    def change(self, table: PolicyTable, share: float) -> None:
        self.new, self.share = table, share
        if share >= 1:
            self.base = table

    def of(self, device: int) -> PolicyTable:
        return self.new if self.air.uniform(self.seed, device, 0, 99) < self.share else self.base


class Decider:
    """Everything that a decision looks at."""

    def __init__(
        self,
        fleet: FleetSettings,
        rows: Sequence[Row],
        radios: Sequence[Radio],
        pools: Sequence[Pool],
        air: Air,
        policies: Policies,
    ) -> None:
        self.fleet = fleet
        self.rows = rows
        self.radios = radios
        self.pools = pools
        self.air = air
        self.policies = policies

    def draw(self, request: Request, k: int) -> float:
        return self.air.uniform(self.air.seed, request.id, 0, k)

    def about(self, request: Request) -> tuple[Ask, TaskKind]:
        assert request.ask is not None
        return request.ask, self.fleet.tasks[request.ask.task]

    # --------------------------------------------------------------------------------------- W1: the actions

    def meaning(self, action: int) -> tuple[str, int]:
        """What an action does ("near", "hub", "pool", "cascade", "hedge"), and with which pool (or -1)."""
        if action < 2:
            return ("near", "hub")[action], -1
        which, pool = divmod(action - 2, len(self.pools))
        return ("pool", "cascade", "hedge")[which], pool

    def kind_of(self, action: int) -> int:
        """Its place among the KINDS."""
        what, pool = self.meaning(action)
        if what == "hub":
            return KINDS.index("edge")
        return KINDS.index(self.pools[pool].far.tier if what == "pool" else what)  # type: ignore[arg-type]

    @property
    def actions(self) -> range:
        return range(2 + 3 * len(self.pools))

    # ----------------------------------------------------------------------------------------- W2: the masks

    def can(self, action: int, request: Request, tried: set[int], t: float) -> bool:
        """The masks. (Which kinds its policy uses is asked in `choose`.)"""
        what, pool = self.meaning(action)
        if what == "near":
            return self.can_near(request, t)
        if what == "hub":
            return self.can_hub(request, t)
        if what == "pool":
            return self.can_pool(pool, request, tried, t)
        return self.can_near(request, t) and self.can_pool(pool, request, tried, t)

    def fits(self, row: Row, request: Request) -> bool:
        """Model, modality and tokens."""
        _, task = self.about(request)
        return (
            row.kind.model >= 0
            and task.modality & ~row.kind.modalities == 0
            and request.prompt + request.output <= row.kind.max_tokens
        )

    def can_near(self, request: Request, t: float) -> bool:
        ask, _ = self.about(request)
        row = self.rows[ask.device]
        powered = row.kind.capacity_j == 0 or row.battery_j > row.kind.floor_j or row.charges_at(t)
        return self.fits(row, request) and powered

    def can_hub(self, request: Request, t: float) -> bool:
        ask, task = self.about(request)
        hub = int(self.fleet.hub[ask.device])
        return (
            hub >= 0
            and task.privacy != "device"
            and self.air.is_connected(ask.device, t)
            and self.air.class_of(ask.device, t).home
            and self.fits(self.rows[hub], request)
        )

    def can_pool(self, pool: int, request: Request, tried: set[int], t: float) -> bool:
        ask, task = self.about(request)
        there = self.pools[pool]
        return (
            task.privacy == "any"
            and self.air.is_connected(ask.device, t)
            and task.modality & ~there.far.modalities == 0
            and there.unfit(request.prompt, request.output) == ""
            and there.balance.reported_up >= 1
            and pool not in tried
        )

    # ---------------------------------------------------------------------------------------- W4: the choice

    def choose(self, request: Request, tried: set[int], t: float) -> int:
        """The action with the largest score, among equals the first; -1 when there is none (W3)."""
        ask, _ = self.about(request)
        policy = self.policies.of(ask.device)
        chosen, best = -1, 0.0
        for action in self.actions:
            if policy.kinds[self.kind_of(action)] and self.can(action, request, tried, t):
                score = self.score(action, request, policy, t)
                if chosen == -1 or score > best:
                    chosen, best = action, score
        return chosen

    def score(self, action: int, request: Request, policy: PolicyTable, t: float) -> float:
        ask, task = self.about(request)
        device, kind = self.rows[ask.device], self.kind_of(action)
        values = phi(
            self.figures(action, request, t),
            kind=kind,
            noise=self.draw(request, 2000 + action),
            task=task,
            prompt=request.prompt,
            difficulty=self.guess(request),
            share=device.battery_share,
            heat=device.heat,
            metered=self.air.class_of(ask.device, t).metered,
        )
        score = 0.0
        for weight, value in zip(policy.weights, values, strict=True):
            score += float(weight) * value
        return score + float(policy.scene[ask.task, kind])

    # --------------------------------------------------------------------------------------- W5: the figures

    def guess(self, request: Request) -> float:
        """The difficulty as estimated."""
        ask, _ = self.about(request)
        if self.fleet.foresight >= 2:  # W8
            return ask.difficulty
        _, task = self.about(request)
        seen = ask.difficulty + self.fleet.estimate_spread * probit(self.draw(request, 14))
        return task.difficulty_mean + self.trust(task) * (seen - task.difficulty_mean)

    def trust(self, task: TaskKind) -> float:
        """W5: ρ."""
        if self.fleet.estimate_spread == 0:
            return 1.0
        return (
            0.0 if task.difficulty_spread == 0 else 1 / (1 + (self.fleet.estimate_spread / task.difficulty_spread) ** 2)
        )

    def right(self, model: int, request: Request) -> bool:
        """Q1: is this model's answer right?"""
        ask, _ = self.about(request)
        chance = sigma(float(self.fleet.ability[model, ask.task]) - ask.difficulty)
        return self.draw(request, 1000 + model) < chance

    def confidence(self, model: int, request: Request) -> float:
        """G5: z."""
        z = probit(self.draw(request, 15))
        return z + sharpness(self.fleet.cascade) if self.right(model, request) else z

    def quality(self, model: int, request: Request) -> float:
        if self.fleet.foresight >= 2:  # W8
            return float(self.right(model, request))
        ask, task = self.about(request)
        kappa = 1 / sqrt(1 + pi / 8 * self.fleet.estimate_spread**2 * self.trust(task))
        return sigma(kappa * (float(self.fleet.ability[model, ask.task]) - self.guess(request)))

    def figures(self, action: int, request: Request, t: float) -> Figures:
        what, pool = self.meaning(action)
        if what == "near":
            return self.near_figures(request, t)
        if what == "hub":
            return self.hub_figures(request, t)
        far = self.pool_figures(pool, request, t)
        if what == "pool":
            return far
        near = self.near_figures(request, t)
        if what == "hedge":
            return both(near, far)
        released: bool | None = None
        if self.fleet.foresight >= 2:  # W8
            model = self.rows[self.about(request)[0].device].kind.model
            released = self.confidence(model, request) >= self.fleet.cascade.threshold
        return in_turn(near, far, self.fleet.cascade, released)

    def output(self, request: Request) -> float:
        """Ô."""
        _, task = self.about(request)
        return request.output if self.fleet.foresight >= 1 else task.output_hint  # W8

    def loaded(self, row: Row, request: Request, t: float) -> bool:
        """Whether the model is expected in the row's memory."""
        return row.resident(request, t) if self.fleet.foresight >= 1 else row.ever_used  # W8

    def near_figures(self, request: Request, t: float) -> Figures:
        ask, _ = self.about(request)
        row = self.rows[ask.device]
        quality, loaded = self.quality(row.kind.model, request), self.loaded(row, request, t)
        return at_a_row(row, request, self.output(request), quality, t, loaded)

    def hub_figures(self, request: Request, t: float) -> Figures:
        ask, _ = self.about(request)
        row = self.rows[int(self.fleet.hub[ask.device])]
        row.settle(t)
        way = self.way(request, t, nearby=True)
        quality, loaded = self.quality(row.kind.model, request), self.loaded(row, request, t)
        return on_a_hub(way, row, request, self.output(request), quality, t, loaded)

    def pool_figures(self, pool: int, request: Request, t: float) -> Figures:
        there = self.pools[pool]
        way = self.way(request, t, nearby=there.far.tier == "edge")
        quality, live = self.quality(there.far.model, request), self.fleet.foresight >= 1
        return at_a_pool(way, there, request, self.output(request), quality, live)

    def way(self, request: Request, t: float, nearby: bool) -> Way:
        ask, _ = self.about(request)
        network, weather = self.air.class_of(ask.device, t), self.air.weather_of(ask.device)

        def at(quantiles: Sequence[float], k: int) -> float:
            return quantile(quantiles, self.draw(request, k)) if self.fleet.foresight >= 1 else quantiles[2]  # W8

        return Way.of(network, weather, self.radios[ask.device].gap_s(), ask, nearby, at)
