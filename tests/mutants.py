"""Rules broken on purpose: proof that the proof works.

Each mutant is a one-line change of the production engine. `python -m tests.mutants` copies the project, applies one at
a time, and runs the parity and theory tests on it: every mutant must turn a test red.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-profile=no-shrink")
ROOMS = ("profiles", "policies", "sim", "scheduler", "commands", "tests")


@dataclass(frozen=True)
class Mutant:
    """A change of one file; `tests` are those that must notice it."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...] = ("tests/test_parity.py",)


PREEMPTED_TO_THE_BACK = Mutant(
    "preempted requests go to the back of the queue",
    "sim/kernels/decodes.py",
    "    enqueue(s, i, r, True)\n",
    "    enqueue(s, i, r, False)\n",
)
BLOCKS_NEVER_FREED = Mutant(
    "KV blocks are never freed",
    "sim/kernels/blocks.py",
    "    replica = replica_of(s, i)\n    replica.free += count\n",
    "    replica = replica_of(s, i)\n",
)
BLIND_BALANCER = Mutant(
    "the least-outstanding balancer ignores load",
    "sim/kernels/door.py",
    "if best == NOBODY or load < least:",
    "if best == NOBODY:",
)
BLIND_BALANCER_IN_THEORY = Mutant(
    "the same, seen by queueing theory alone",
    BLIND_BALANCER.file,
    BLIND_BALANCER.right,
    BLIND_BALANCER.wrong,
    ("tests/theory",),
)
OTHERS = (
    Mutant(
        "waiting requests are admitted although something was preempted",
        "sim/kernels/batching.py",
        "    if not preempted:\n",
        "    if True:\n",
    ),
    Mutant(
        "the least recently used block is kept, the latest is taken",
        "sim/kernels/blocks.py",
        "        if node.users == 0:\n            link_back(s, i, at)\n",
        "        if node.users == 0:\n            link_front(s, i, at)\n",
    ),
    Mutant(
        "a fully cached prompt computes nothing",
        "sim/kernels/blocks.py",
        "    high = min(request.named_tokens, target - 1) // s.block_size\n",
        "    high = min(request.named_tokens, target) // s.block_size\n",
    ),
    Mutant(
        "patience runs on after the first token",
        "sim/kernels/engine.py",
        "    if is_deadline == 0 and request.first_token <= now:\n        return\n",
        "",
    ),
    Mutant(
        "urgent requests are not served first",
        "sim/kernels/queues.py",
        "    return int(request_of(s, r).priority) if s.by_priority != 0 else 0\n",
        "    return 0\n",
        ("tests/test_parity.py", "tests/theory"),
    ),
    Mutant(
        "controls come after the arrivals of their instant",
        "sim/kernels/engine.py",
        "        if at >= until:\n",
        "        if at > until:\n",
    ),
    Mutant(
        "telemetry is never stale",
        "sim/kernels/door.py",
        "    if s.telemetry_lag_s > 0.0:\n        return int(replica.reported + replica.sent)\n",
        "",
    ),
)
_FLEET = ("tests/test_fleet_parity.py",)
LOSER_OF_A_HEDGE = Mutant(
    "the loser of a hedge computes on",
    "sim/kernels/legs.py",
    "        leave_row(w, r, now, True)\n        request_of(w, r).first_token = now\n",
    "        request_of(w, r).first_token = now\n",
    _FLEET,
)
OF_FLEETS = (
    Mutant(
        "home requests may reach a pool",
        "policies/masks.py",
        "        return NEAR <= place <= HUB\n",
        "        return NEAR <= place <= CLOUD_POOL\n",
        ("tests/test_privacy.py",),
    ),
    LOSER_OF_A_HEDGE,
    Mutant(
        "a sleeping radio answers at once",
        "sim/kernels/air.py",
        "        leave += network.promotion_s\n",
        "        leave += 0.0\n",
        _FLEET,
    ),
    Mutant(
        "the radio costs the battery nothing",
        "sim/kernels/battery.py",
        "    row.battery_j = max(0.0, row.battery_j - joules)\n",
        "",
        _FLEET,
    ),
    Mutant(
        "heat never lowers the clock in the middle of a job",
        "sim/kernels/jobs.py",
        "        if full < work:\n            return full, False\n",
        "",
        _FLEET,
    ),
    Mutant(
        "a doubtful answer of a cascade is released",
        "sim/kernels/legs.py",
        "    if confidence_in(w, r, model) >= w.threshold or not",
        "    if confidence_in(w, r, model) >= w.threshold - 1.0 or not",
        _FLEET,
    ),
    Mutant(
        "a roll-out reaches everybody at once",
        "sim/kernels/choosing.py",
        "    return 1 if uniform(w.seed, d, 0, 99) < w.rollout else 0\n",
        "    return 1\n",
        _FLEET,
    ),
)
MUTANTS = (PREEMPTED_TO_THE_BACK, BLOCKS_NEVER_FREED, BLIND_BALANCER, BLIND_BALANCER_IN_THEORY, *OTHERS, *OF_FLEETS)


def survives(mutant: Mutant) -> tuple[bool, str]:
    """Whether all tests stay green on the mutant, and the last lines they print."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        copy.mkdir()
        for room in ROOMS:
            shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for module in ("nearfar.py", "cli.py"):
            shutil.copy(ROOT / module, copy)
        path = copy / mutant.file
        source = path.read_text(encoding="utf-8")
        if source.count(mutant.right) != 1:
            raise RuntimeError(f"mutant {mutant.name!r} no longer fits {mutant.file}")
        path.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")
        environment = os.environ | {"NEARFAR_CACHE_DIR": str(Path(folder) / "cache"), "PYTHONPATH": str(copy)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, *mutant.tests],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0, next((x for x in done.stdout.splitlines() if x.startswith("FAILED")), "")


def main() -> int:
    """Run all mutants; 0 when every one was noticed."""
    alive = 0
    for mutant in MUTANTS:
        begun = time.monotonic()
        lives, verdict = survives(mutant)
        alive += lives
        print(
            f"{'GREEN' if lives else 'red  '}  {mutant.name}  ({time.monotonic() - begun:.0f} s)  {verdict[:110]}",
            flush=True,
        )
    print(f"{len(MUTANTS) - alive} of {len(MUTANTS)} mutants noticed")
    return min(alive, 1)


if __name__ == "__main__":
    sys.exit(main())
