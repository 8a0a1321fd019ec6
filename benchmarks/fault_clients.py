"""Clients of a gateway under fire: each asks once, in its own manner, and says what became of it.

Manners: `plain` (one answer), `stream`, `slow` (reads a stream at leisure), `leaves` (goes away mid-answer).
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp

__all__ = ["HUNG_S", "Ending", "ask", "manner_of"]

HUNG_S = 60.0
"""A client that has nothing after so long counts as hung; all deadlines of the gateway are well below."""

_TEXTS = (
    "Name one colour.",
    "Translate into French: good morning.",
    "Say yes or no: is water wet?",
    "Write the next number: 1, 2, 3,",
    "把这句话翻译成英文：早上好。",
)


@dataclass(slots=True)
class Ending:
    """What became of one request, as its client saw it."""

    id: str
    manner: str
    state: str = "hung"
    """answered, refused (429), error (in OpenAI's shape), left (its own wish), lost (no answer, no error), hung."""
    status: int = 0
    target: str = ""
    reason: str = ""
    answers: int = 0
    """Finished answers that reached the client."""
    wrong_id: bool = False
    """The answer was another client's."""
    what: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def manner_of(dice: random.Random) -> str:
    """How a client behaves."""
    return dice.choices(("plain", "stream", "slow", "leaves"), (48, 46, 3, 3))[0]


async def ask(session: aiohttp.ClientSession, url: str, name: str, manner: str, hints: dict[str, Any]) -> Ending:
    """One request, at most `HUNG_S` seconds. The first letter of `name` says its privacy class (d, h, a)."""
    ending = Ending(name, manner)
    body = {
        "model": "auto",
        "user": name,
        "messages": [{"role": "user", "content": _TEXTS[int(name[2:]) % len(_TEXTS)]}],
        "max_tokens": 4,
        "stream": manner != "plain",
        "nearfar": hints,
    }
    try:
        async with asyncio.timeout(HUNG_S):
            await _exchange(session, url, body, ending)
    except TimeoutError:
        ending.state = "hung"
    except (aiohttp.ClientError, ConnectionError) as error:
        ending.state, ending.what = "lost", f"{type(error).__name__}: {error}"[:120]
    return ending


async def _exchange(session: aiohttp.ClientSession, url: str, body: dict[str, Any], ending: Ending) -> None:
    async with session.post(url, json=body) as response:
        ending.status = response.status
        ending.target = response.headers.get("x-nearfar-target", "")
        if response.status != 200:
            text = await response.read()
            ending.state = "refused" if response.status == 429 else "error"
            ending.what = str(json.loads(text)["error"]["code"] or json.loads(text)["error"]["type"])
            return
        if ending.manner == "leaves":
            await response.content.readany()
            response.close()
            ending.state = "left"
            return
        if ending.manner == "plain":
            _count(ending, json.loads(await response.read())["choices"][0]["message"]["content"] or "", 1)
            return
        await _stream(response, ending)


async def _stream(response: aiohttp.ClientResponse, ending: Ending) -> None:
    text, ends, done, error = "", 0, False, None
    async for line in response.content:
        if ending.manner == "slow":
            await asyncio.sleep(0.2)
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            done = True
            continue
        event = json.loads(line[6:])
        if "error" in event:
            error = str(event["error"].get("code") or event["error"].get("type"))
            continue
        for choice in event.get("choices", ()):
            text += choice["delta"].get("content") or ""
            ends += choice.get("finish_reason") is not None
    if error is not None:
        ending.state, ending.what = "error", error
        ending.notes["after_tokens"] = bool(text)
        ending.answers = ends if done else 0
    elif done:
        _count(ending, text, ends)
    else:
        ending.state, ending.what = "lost", "the stream ended without [DONE] and without an error"


def _count(ending: Ending, text: str, ends: int) -> None:
    ending.state, ending.answers = "answered", ends
    if ending.target == "far":
        ending.wrong_id = text != ending.id
