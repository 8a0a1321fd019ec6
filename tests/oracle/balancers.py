"""Who gets the next request (rules B)."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

from policies import ReplicaView, RequestView
from profiles.errors import UserError
from sim.pool import Balancer
from tests.oracle.replica import Replica
from tests.oracle.requests import Request

__all__ = ["Balance", "Policy", "Uniform"]

Uniform = Callable[[int, int, int, int], float]  # (seed, request id, attempt, 1 or 2) -> [0, 1)


Policy = Callable[[RequestView, list[ReplicaView]], int]


class Balance:
    """A balancer: its cursor, and its view of the replicas' load."""

    def __init__(
        self,
        rule: Balancer,
        replicas: list[Replica],
        lag_s: float,
        seed: int,
        uniform: Uniform,
        policy: Policy | None,
    ) -> None:
        if rule == "python" and policy is None:
            raise UserError("balancer 'python' needs a policy", next_step="pass policy=")
        self.rule = rule
        self.replicas = replicas
        self.live = lag_s == 0
        self.seed = seed
        self.uniform = uniform
        self.policy = policy
        self.cursor = 0
        self.told = [0] * len(replicas)  # outstanding counts at the last TICK; zero before the first
        self.told_up = sum(replica.up for replica in replicas)  # W5: those that were up then
        self.sent = [0] * len(replicas)  # requests sent since

    def tick(self) -> None:
        """A TICK: the balancer hears the true counts."""
        self.told = [replica.outstanding for replica in self.replicas]
        self.sent = [0] * len(self.replicas)
        self.told_up = sum(replica.up for replica in self.replicas)

    @property
    def reported_up(self) -> int:
        """W5: how many replicas are up, by the last report; live without lag."""
        return sum(replica.up for replica in self.replicas) if self.live else self.told_up

    def view(self, replica: Replica) -> int:
        """The load of a replica, as far as the balancer knows."""
        return replica.outstanding if self.live else self.told[replica.id] + self.sent[replica.id]

    def choose(self, request: Request, now: float) -> Replica:
        """D3: one of the replicas that are up. (There is one: D2.)"""
        up = [replica for replica in self.replicas if replica.up]
        match self.rule:
            case "round-robin":
                chosen = self.round_robin(up)
            case "random":
                chosen = up[floor(self.draw(request, 1) * len(up))]  # B2
            case "least-outstanding":
                least = min(self.view(replica) for replica in up)  # B3
                chosen = self.round_robin([replica for replica in up if self.view(replica) == least])
            case "power-of-two":
                chosen = self.power_of_two(request, up)
            case "prefix-affinity":
                chosen = self.prefix_affinity(request, up)
            case "python":
                chosen = self.ask_policy(request, now)
        self.sent[chosen.id] += 1
        return chosen

    def draw(self, request: Request, which: int) -> float:
        """B2: u1 or u2 of this attempt of the request."""
        return self.uniform(self.seed, request.id, request.attempts, which)

    def round_robin(self, candidates: list[Replica]) -> Replica:
        """B1, B3: the first candidate at or after the cursor, cyclically; the cursor moves behind it."""
        count = len(self.replicas)
        chosen = min(candidates, key=lambda replica: (replica.id - self.cursor) % count)
        self.cursor = (chosen.id + 1) % count
        return chosen

    def power_of_two(self, request: Request, up: list[Replica]) -> Replica:
        """B4: two different ones at random; the less loaded, on a tie the first drawn."""
        n = len(up)
        if n == 1:
            return up[0]
        a = floor(self.draw(request, 1) * n)
        b = floor(self.draw(request, 2) * (n - 1))
        if b >= a:
            b += 1
        return min(up[a], up[b], key=self.view)

    def prefix_affinity(self, request: Request, up: list[Replica]) -> Replica:
        """B5: the longest cached prefix, where the view is at most 1.5 x mean + 4 (in whole numbers)."""
        total, n = sum(self.view(replica) for replica in up), len(up)
        near = [replica for replica in up if 2 * n * self.view(replica) <= 3 * total + 8 * n]

        def rank(replica: Replica) -> tuple[int, int, int]:
            limit = (request.prompt - 1) // replica.pool.engine.block_size  # K3, with target = P
            cached = replica.composer.blocks.find(request.names[replica.pool_id], limit)
            return -len(cached), self.view(replica), replica.id

        return min(near, key=rank)

    def ask_policy(self, request: Request, now: float) -> Replica:
        """B6: a Python function decides."""
        assert self.policy is not None
        about = RequestView(
            id=request.id,
            now_s=now,
            arrival_s=request.arrival_s,
            prompt_tokens=request.prompt,
            priority=request.priority,
            session=request.session,
            attempt=request.attempts,
        )
        chosen = self.policy(about, [ReplicaView(id=r.id, up=r.up, outstanding=self.view(r)) for r in self.replicas])
        if not (0 <= chosen < len(self.replicas) and self.replicas[chosen].up):
            allowed = "the id of a replica that is up"
            raise UserError("the policy chose no replica", got=chosen, allowed=allowed)
        return self.replicas[chosen]
