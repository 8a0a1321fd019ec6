"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "Profiles", "Requests", "Scenario", "Seed", "Set", "TimeScale", "Trace"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all random draws (default: the scenario's).")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the scenario.")]
Scenario = Annotated[str | None, typer.Argument(help="Scenario file (default: a small built-in one).")]
Trace = Annotated[Path | None, typer.Option(help="Replay this trace instead of the scenario's arrivals and lengths.")]
Requests = Annotated[int | None, typer.Option(help="Take so many requests; beyond a trace's end it is repeated.")]
TimeScale = Annotated[float | None, typer.Option(help="Multiply the stamps of the trace; 0.5 is twice the load.")]
Profiles = Annotated[Path | None, typer.Option(help="Folder of your own facts; they go before the built-in ones.")]
