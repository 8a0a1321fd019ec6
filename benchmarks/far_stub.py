"""A far endpoint that breaks on purpose, and writes down whom it saw: the other end of `benchmarks.faults`.

    python -m benchmarks.far_stub --port 9100 --seen seen.jsonl [--faults 0.12]

It speaks OpenAI's chat API. A client's id comes as the body's `user` and goes back as the answer's text. Whether and
how a request breaks follows from its id and from how often it came, so that a retry may fare better.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

FAULTS = ("reset", "500", "busy", "stall", "garbage", "cut", "mid-reset", "mid-stall")
STALL_S = 30.0


def fault_of(name: str, time_seen: int, share: float) -> str | None:
    """How this visit of this id breaks, if it does."""
    digest = hashlib.sha256(f"{name}/{time_seen}".encode()).digest()
    if int.from_bytes(digest[:4]) / 2**32 >= share:
        return None
    return FAULTS[digest[4] % len(FAULTS)]


class FarStub:
    """Answers, or breaks; one line a visit in the file `seen`."""

    def __init__(self, seen: Path, share: float) -> None:
        self._file = seen.open("a", buffering=1)
        self._visits: Counter[str] = Counter()
        self._share = share

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`/v1/chat/completions`."""
        body = json.loads(await request.read())
        name = str(body.get("user"))
        fault = fault_of(name, self._visits[name], self._share)
        self._visits[name] += 1
        self._file.write(json.dumps({"id": name, "fault": fault}) + "\n")
        transport = request.transport
        assert transport is not None
        if fault == "reset":
            transport.abort()
        if fault == "500":
            return web.json_response({"error": {"message": "broken on purpose"}}, status=500)
        if fault == "busy":
            return web.json_response(
                {"error": {"message": "busy on purpose"}}, status=429, headers={"retry-after": "1"}
            )
        if fault == "stall":
            await asyncio.sleep(STALL_S)
        if body.get("stream"):
            return await self._stream(request, name, fault)
        answer = _whole(name)
        if fault == "garbage":
            return web.Response(body=b"\x00<html>not json", content_type="application/json")
        if fault in ("cut", "mid-reset", "mid-stall"):
            response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "4096"})
            await response.prepare(request)
            await response.write(answer[: len(answer) // 2])
            if fault == "mid-stall":
                await asyncio.sleep(STALL_S)
            transport.abort()
            return response
        return web.Response(body=answer, content_type="application/json")

    async def _stream(self, request: web.Request, name: str, fault: str | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        pieces = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in (name[:3], name[3:])), {}]
        for position, delta in enumerate(pieces):
            last = position == len(pieces) - 1
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
            await response.write(
                b"data: " + json.dumps(_envelope(name, "chat.completion.chunk", choice)).encode() + b"\n\n"
            )
            if position == 1 and fault is not None:
                await self._break(request, response, fault)
                return response
        await response.write(b"data: [DONE]\n\n")
        return response

    @staticmethod
    async def _break(request: web.Request, response: web.StreamResponse, fault: str) -> None:
        if fault == "garbage":
            await response.write(b"data: {not json\n\n\xff\xfe\n\n")
        if fault == "mid-stall":
            await asyncio.sleep(STALL_S)
        assert request.transport is not None
        request.transport.abort()


def _envelope(name: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"chatcmpl-{name}", "object": kind, "created": 0, "model": "stub", "choices": [choice]}


def _whole(name: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}
    return json.dumps(_envelope(name, "chat.completion", choice) | {"usage": usage}).encode()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--seen", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.12, help="share of visits that break")
    chosen = parser.parse_args()
    stub = FarStub(chosen.seen, chosen.faults)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", stub.chat)
    web.run_app(app, host="127.0.0.1", port=chosen.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
