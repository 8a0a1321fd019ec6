"""The control plane: catching up, controls of the user's own, failures at random."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from profiles.errors import UserError
from sim.controls import ReplicaFailures
from sim.kernels import state
from sim.plane import DataPlane
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.world import World
from tests.scenarios import step_costs, workload_of


def plane_of(requests: int = 200, gap_s: float = 0.1, replicas: int = 2, step_s: float = 0.05) -> DataPlane:
    rows = [{"arrival_s": gap_s * r, "prompt": 5, "output": 10} for r in range(requests)]
    pool = PoolSettings(
        name="cloud",
        replicas=replicas,
        engine=EngineSettings(max_num_seqs=4, max_num_batched_tokens=32, kv_blocks=64, async_scheduling=False),
    )
    return DataPlane(workload_of(rows), [PoolPlan(settings=pool, costs=step_costs(fixed_s=step_s))])


def test_a_control_of_ten_lines_works() -> None:
    seen: list[tuple[float, int, int]] = []

    def lunch_break(world: World) -> Generator[Any, Any, None]:
        pool = world.pool("cloud")
        yield world.timeout(5.0)
        seen.append((world.now, pool.up, pool.running))
        pool.fail(0)
        seen.append((world.now, pool.up, pool.waiting))
        yield world.timeout(3.0)
        pool.repair(0)
        seen.append((world.now, pool.up, pool.waiting))

    plane = plane_of()
    World(plane).run_to_end([lunch_break])
    assert [(now, up) for now, up, _ in seen] == [(5.0, 2), (5.0, 1), (8.0, 2)]
    assert seen[0][2] > 0, "requests were running"
    requests = plane.requests
    during = (requests["arrival"] > 5.0) & (requests["arrival"] < 8.0)
    assert (requests["replica"][during] == 1).all(), "the failed replica gets nothing"
    assert (requests["replica"][requests["arrival"] > 9.0] == 0).any(), "the repaired one does again"
    assert plane.pools[0].replicas["down_s"].tolist() == [3.0, 0.0]


def test_a_control_sees_the_plane_at_its_own_instant() -> None:
    # Steps of 1 s, one request with 1 + 10 tokens: it runs from 0 to 10. ENDs at an instant come before controls.
    rows = [{"arrival_s": 0.0, "prompt": 1, "output": 10}]
    pool = PoolSettings(engine=EngineSettings(max_num_seqs=4, kv_blocks=64, async_scheduling=False))
    plane = DataPlane(workload_of(rows), [PoolPlan(settings=pool, costs=step_costs(fixed_s=1.0, max_tokens=4096))])
    running: dict[float, int] = {}

    def watch(world: World) -> Generator[Any, Any, None]:
        for _ in range(100):
            running[world.now] = world.pool().running
            yield world.timeout(2.5)

    World(plane).run_to_end([watch])
    assert running == {0.0: 0, 2.5: 1, 5.0: 1, 7.5: 1}, "the run ends with its last request, not with its controls"


def test_random_failures_lose_nobody_and_depend_on_the_seed_only() -> None:
    def run(seed: int) -> Any:
        plane = plane_of(requests=600)
        World(plane).run_to_end(ReplicaFailures(mean_up_s=6.0, mean_repair_s=2.0, seed=seed).controls(2))
        return plane

    one, again, other = run(1), run(1), run(2)
    assert one.requests.tobytes() == again.requests.tobytes()
    assert one.requests.tobytes() != other.requests.tobytes()
    assert (one.requests["status"] >= state.COMPLETED).all()
    assert (one.requests["attempts"] > 0).any()
    assert (one.requests["reason"] == state.REPLICA_LOST).any()
    share = one.pools[0].replicas["down_s"].sum() / (2 * one.now_s)
    assert 0.05 < share < 0.6, "a quarter of the time on average"


def test_everything_down_fails_those_who_come() -> None:
    def blackout(world: World) -> Generator[Any, Any, None]:
        yield world.timeout(3.0)
        for replica in range(2):
            world.pool().fail(replica)

    plane = plane_of(requests=100)
    World(plane).run_to_end([blackout])
    late = plane.requests[plane.requests["arrival"] > 3.0]
    assert (late["reason"] == state.NO_REPLICA).all()
    assert np.isnan(late["first_token"]).all()


def test_unknown_pool_and_replica() -> None:
    world = World(plane_of())
    with pytest.raises(UserError, match="did you mean 'cloud'"):
        world.pool("clout")
    with pytest.raises(UserError, match="0 to 1"):
        world.pool().fail(2)


def test_names_that_are_no_prefixes_are_refused() -> None:
    # The name 7 follows 1 in one request and 2 in another.
    rows = [{"prompt": 8, "named": 8, "names": names} for names in ([1, 7], [2, 7])]
    with pytest.raises(UserError, match="predecessors"):
        DataPlane(
            workload_of(rows),
            [
                PoolPlan(
                    settings=PoolSettings(engine=EngineSettings(block_size=4)),
                    costs=step_costs(fixed_s=1.0, max_tokens=4096, max_seqs=256),
                )
            ],
        )


def no_yield(_world: World) -> None:
    """Forgot to yield."""


def raises(world: World) -> Generator[Any, Any, None]:
    yield world.timeout(1.0)
    raise KeyError("lunch")


@pytest.mark.parametrize(("control", "words"), [(no_yield, "not a generator"), (raises, "raised KeyError at 1 s")])
def test_controls_that_go_wrong_are_told_by_name(control: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as told:
        World(plane_of()).run_to_end([control])
    assert control.__name__ in str(told.value)
