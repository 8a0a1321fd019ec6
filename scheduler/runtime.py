"""llama.cpp (xllamacpp) in a process of its own: what it does to a damaged file then kills nobody else.

with LlamaCpp(path, threads=1) as engine:
    engine.start(context=600)
    engine.ask(prompt=512, steps=32)       Answer(prompt_s, step_s)
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from profiles import UserError

__all__ = ["Answer", "LlamaCpp", "require_runtime"]

_MICRO_BATCH = 512  # tokens that llama.cpp works on together; its own default
_ROOM = 64  # positions of a context beyond what is asked for
_FIRST_TOKEN_ID, _TOKEN_IDS = 500, 4000  # of the prompts: ordinary words in every vocabulary

_LATER_SETTINGS = {
    "hostnames": ["127.0.0.1"], "cache_prompt": False, "cache_ram_mib": 0, "n_ctx_checkpoints": 0, "fit_params": False,
}  # fmt: skip
"""What older releases do not know, and do not need to be told."""


class Answer(NamedTuple):
    """Seconds of a prompt (of all prompts, when they were answered together), and of one step after it."""

    prompt_s: float
    step_s: float


def require_runtime() -> None:
    """Raise UserError, with the install command, where xllamacpp is missing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise UserError(
            "measuring a model needs xllamacpp, which is not installed", next_step='pip install "nearfar[local]"'
        )


class LlamaCpp:
    """One model file and a child process that runs it; a context manager.

    Raises UserError, from every method, when the runtime refuses the file or dies of it.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        require_runtime()
        self._path = path
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._child = spawn.Process(target=_serve, args=(theirs, str(path), threads), daemon=True)
        self._child.start()
        theirs.close()
        self.version = f"xllamacpp {self._reply('starting')}"

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._child.kill()
        self._child.join()

    def start(self, *, context: int, sequences: int = 1, micro_batch: int = _MICRO_BATCH) -> None:
        """Load the model for so many sequences of so much context; prompts go in steps of `micro_batch` tokens."""
        self._send("start", {"context": context, "sequences": sequences, "micro_batch": micro_batch})
        self._reply("loading the model")

    def ask(self, *, prompt: int, steps: int, sequences: int = 1, seed: int = 0) -> Answer:
        """Times of prompts of so many tokens, answered together with `steps` + 1 tokens each, nothing cached.

        With one thread, what other programs took of the time is left out: wall time x the process's share of a core,
        for the prompts and for the answers.
        """
        self._send("ask", {"prompt": prompt, "steps": steps, "sequences": sequences, "seed": seed})
        return Answer(*self._reply("answering"))

    def _send(self, what: str, how: dict[str, int]) -> None:
        try:
            self._pipe.send((what, how))
        except OSError:
            raise self._died("working") from None

    def _reply(self, doing: str) -> Any:
        try:
            fine, value = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died(doing) from None
        if not fine:
            raise UserError(f"{self._path}: the runtime failed while {doing}: {value}")
        return value

    def _died(self, doing: str) -> UserError:
        return UserError(
            f"{self._path}: the runtime died while {doing}",
            next_step="the file may be damaged, or too large for the memory; pull it again, or take a smaller one",
        )


# In the child.


def _serve(pipe: Connection, path: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this process
    os.environ["GGML_NO_BACKTRACE"] = "1"
    _silence()
    server: Any = None
    try:
        module = importlib.import_module("xllamacpp")
        pipe.send((True, module.__version__))
        while True:
            what, how = pipe.recv()
            try:
                if what == "start":
                    server = None  # the old one goes first: two may not fit
                    server = module.Server(_settings(module.CommonParams(), path, threads, **how))
                    pipe.send((True, None))
                else:
                    pipe.send((True, _timed(server, threads, **how)))
            except Exception as error:  # the runtime has no error class of its own
                pipe.send((False, str(error)))
    except ImportError as error:
        pipe.send((False, str(error)))
    except (EOFError, OSError):
        return


def _silence() -> None:
    """What the runtime writes is of no use to a user: the parent says what went wrong."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _settings(settings: Any, path: str, threads: int, *, context: int, sequences: int, micro_batch: int) -> Any:
    settings.model.path = path
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.n_ctx, settings.n_parallel = (context + _ROOM) * sequences, sequences
    settings.n_ubatch, settings.n_batch = micro_batch, max(_MICRO_BATCH, context * sequences)
    settings.n_gpu_layers, settings.verbosity, settings.port = 0, -1, 0
    for name, value in _LATER_SETTINGS.items():
        if hasattr(settings, name):
            setattr(settings, name, value)
    return settings


def _timed(server: Any, threads: int, *, prompt: int, steps: int, sequences: int, seed: int) -> tuple[float, float]:
    prompts = [
        [_FIRST_TOKEN_ID + (seed * 97 + one * 31 + 7 * k) % _TOKEN_IDS for k in range(prompt)]
        for one in range(sequences)
    ]
    clocks = _Clocks()
    server.handle_completions(
        {"prompt": prompts, "n_predict": steps + 1, "cache_prompt": False, "ignore_eos": True, "temperature": 0.0}
        | {"stream": True},
        clocks.heard,
    )
    if clocks.timings is None:
        raise RuntimeError(f"no answer: {clocks.last}"[:200])
    shares = clocks.shares() if threads == 1 else (1.0, 1.0)
    found = clocks.timings
    return found["prompt_ms"] * 1e-3 * shares[0], found["predicted_ms"] * 1e-3 / steps * shares[1]


class _Clocks:
    """Wall and processor seconds at the start of an answer, at its first token and at its last."""

    def __init__(self) -> None:
        self.timings: dict[str, float] | None = None
        self.last: Any = None
        self._start = self._end = self._now()
        self._first: tuple[float, float] | None = None

    def heard(self, chunk: Any) -> None:
        """Called with every piece of an answer as it is made."""
        self.last = chunk
        if isinstance(chunk, dict) and "choices" in chunk:
            self._end = self._now()
            self._first = self._first or self._end
            self.timings = chunk.get("timings", self.timings)

    def shares(self) -> tuple[float, float]:
        """The shares of a core that the process had until the first token, and from there to the last."""
        first = self._first or self._end
        return _share(self._start, first), _share(first, self._end)

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def _share(begin: tuple[float, float], end: tuple[float, float]) -> float:
    wall, cpu = end[0] - begin[0], end[1] - begin[1]
    return min(1.0, cpu / wall) if wall > 0.0 else 1.0
