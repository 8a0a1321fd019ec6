"""A gateway under fire: processes die, an endpoint breaks, clients misbehave; nobody may be left without an answer.

    python -m benchmarks.faults [--requests 20000] [--near-requests 1500] [--near-kills 5] [--supervisor-kills 2]

`nearfar serve` runs with the real near model (SmolLM2, at most 4 tokens an answer) and with `benchmarks.far_stub` as
the far endpoint, which resets, fails, stalls and cuts. While clients ask, the near actor and the supervisor are killed
(SIGKILL). Ids are counted at both ends: every request ends in an answer, a refusal or an error in OpenAI's shape (or
its client left), once; and nothing reaches the far endpoint that may not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.fault_clients import Ending, ask, manner_of
from benchmarks.record import emit

NEAR_AT_ONCE, FAR_AT_ONCE = 3, 32
START_S = 180.0
TITLES = {"near": "ray::ModelActor", "supervisor": "ray::Supervisor"}
"""How processes of Ray's actors are called."""


def main() -> None:
    """Run the campaign and print what became of everybody."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--near-requests", type=int, default=1_500, help="of them for the near model alone")
    parser.add_argument("--near-kills", type=int, default=5)
    parser.add_argument("--supervisor-kills", type=int, default=2)
    parser.add_argument("--faults", type=float, default=0.12, help="share of visits that the far endpoint breaks")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _running(Path(folder), chosen.faults) as port:
        begun = time.monotonic()
        campaign = _Campaign(port, chosen)
        asyncio.run(campaign.run())
        took_s = time.monotonic() - begun
        seen = [json.loads(line) for line in (Path(folder) / "seen.jsonl").read_text().splitlines()]
        _keep(chosen.out, campaign.endings)
    emit("faults", _figures(campaign.endings, seen, campaign.killed, took_s), chosen.out)


# -- the processes -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(folder: Path, faults: float) -> Iterator[int]:
    stub_port, port = _free_port(), _free_port()
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump(_config(stub_port, folder)), encoding="utf-8")
    stub = [sys.executable, "-m", "benchmarks.far_stub", "--port", str(stub_port), "--seen", str(folder / "seen.jsonl")]
    serve = [sys.executable, "-m", "cli", "serve", str(config), "--port", str(port)]
    with _process([*stub, "--faults", str(faults)]), _process(serve):
        _wait_until_ready(port)
        yield port


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            print("nearfar: did not stop within a minute", file=sys.stderr)
            process.kill()


def _config(stub_port: int, folder: Path) -> dict[str, Any]:
    """A near model of this machine, and the stub as the cloud. Deadlines well below `HUNG_S`."""
    return {
        "near": {
            "device": "this-host",
            "model": "smollm2-135m-instruct",
            "run": {"kind": "llama_cpp", "file": "smollm2-135m-instruct", "threads": 1, "slots": 2},
        },
        "pools": {
            "far": {
                "tier": "cloud",
                "model": "qwen3-32b",
                "accelerator": "h100",
                "run": {"kind": "openai", "base_url": f"http://127.0.0.1:{stub_port}/v1", "upstream_model": "stub"},
            }
        },
        "timeouts": {"connect_s": 2.0, "first_token_s": 5.0, "idle_s": 5.0, "total_s": 30.0},
        "log": {"folder": str(folder / "log")},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5.0) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"nearfar serve was not ready within {START_S:g} s")


# -- the campaign ------------------------------------------------------------------------------------------------------


class _Campaign:
    """What is asked, how far it is, and whom it killed. Lanes: `near` (its model alone) and `far` (all the others)."""

    def __init__(self, port: int, chosen: argparse.Namespace) -> None:
        self.endings: list[Ending] = []
        self.killed: Counter[str] = Counter()
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self._dice = random.Random(0)
        self._planned = {"near": chosen.near_requests, "far": chosen.requests - chosen.near_requests}
        self._done: Counter[str] = Counter()
        self._kills = sorted(
            [((n + 1.0) / (chosen.near_kills + 1), "near") for n in range(chosen.near_kills)]
            + [((n + 0.5) / chosen.supervisor_kills, "supervisor") for n in range(chosen.supervisor_kills)]
        )

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            near, far = iter(range(self._planned["near"])), iter(range(self._planned["far"]))
            lanes = [self._near_lane(session, near) for _ in range(NEAR_AT_ONCE)]
            lanes += [self._far_lane(session, far) for _ in range(FAR_AT_ONCE)]
            await asyncio.gather(self._kill(), *lanes)

    async def _near_lane(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for n in numbers:
            if not await self._ask(session, "near", f"d-{n:06d}", {"privacy": "device"}):
                await asyncio.sleep(0.2)

    async def _far_lane(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for n in numbers:
            while self._share("far") > self._share("near") + 0.01:
                await asyncio.sleep(0.05)  # kills are spread over both lanes
            if n % 50 == 0:
                await self._ask(session, "far", f"h-{n:06d}", {"privacy": "home"})
            else:
                await self._ask(session, "far", f"a-{n:06d}", {"target": "far"} if n % 10 < 8 else {})

    async def _ask(self, session: aiohttp.ClientSession, lane: str, name: str, hints: dict[str, Any]) -> bool:
        ending = await ask(session, self._url, name, manner_of(self._dice), hints)
        self.endings.append(ending)
        self._done[lane] += 1
        return ending.state not in ("refused", "error")

    def _share(self, lane: str) -> float:
        return self._done[lane] / max(1, self._planned[lane])

    async def _kill(self) -> None:
        for share, what in self._kills:
            while self._share("near") < share:
                await asyncio.sleep(0.05)
            self.killed[what] += await asyncio.to_thread(_kill_process, TITLES[what])


def _kill_process(pattern: str) -> int:
    """Kill one process by its title; waits until there is one."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        found = subprocess.run(
            ["pgrep", "-f", f"^{pattern}"], capture_output=True, text=True, check=False
        ).stdout.split()
        if found:
            os.kill(int(found[0]), signal.SIGKILL)
            return 1
        time.sleep(0.2)
    return 0


# -- the account -------------------------------------------------------------------------------------------------------


def _figures(endings: list[Ending], seen: list[dict[str, Any]], killed: Counter[str], took_s: float) -> dict[str, Any]:
    states = Counter(ending.state for ending in endings)
    answered = Counter(ending.target for ending in endings if ending.state == "answered")
    return {
        "requests": len(endings),
        "different_ids": len({ending.id for ending in endings}),
        "states": dict(states),
        "answered_by": dict(answered),
        "errors": dict(Counter(ending.what for ending in endings if ending.state in ("error", "refused"))),
        "hung": states["hung"],
        "lost": states["lost"],
        "answered_twice": sum(ending.answers > 1 for ending in endings),
        "answers_of_others": sum(ending.wrong_id for ending in endings),
        "forbidden": sum(visit["id"][0] in "dh" for visit in seen),
        "far_visits": len(seen),
        "far_faults": dict(Counter(visit["fault"] for visit in seen if visit["fault"])),
        "killed": dict(killed),
        "seconds": round(took_s, 1),
    }


def _keep(out: Path | None, endings: list[Ending]) -> None:
    """Beside `out`, the odd ones in full, for whoever looks into them."""
    if out is None:
        return
    odd = [e for e in endings if e.state in ("hung", "lost") or e.answers > 1 or e.wrong_id]
    lines = [f"{e.id} {e.manner} {e.state} {e.status} {e.target} answers={e.answers} {e.what}" for e in odd]
    out.with_suffix(".odd.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
