"""`nearfar simulate` and `nearfar compare`: what would happen."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

import nearfar
from commands.options import Json, Requests, Scenario, Seed, Set, TimeScale, Trace
from commands.printing import print_json, progress

__all__ = ["compare", "simulate"]


def simulate(
    scenario: Scenario = None,
    trace: Trace = None,
    requests: Requests = None,
    time_scale: TimeScale = None,
    out: Annotated[Path | None, typer.Option(help="Write requests, timeline, summary and report here.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Routing policy of a fleet: a built-in, FILE.yaml, or FILE.py:FUNCTION.")
    ] = None,
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds and give intervals.")] = 1,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Log every decision of a fleet, to learn from.")
    ] = None,
    explore: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of decisions that may be any possible action.")
    ] = None,
    bandit: Annotated[bool, typer.Option("--bandit", help="Let a bandit learn while it routes.")] = False,
    utility: Annotated[
        str | None, typer.Option(metavar="NAME=WEIGHT,...", help="With --bandit: what it should maximise.")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Simulate a pool of replicas, or a fleet of devices with its pools, to the end."""
    from sim.loading import parse_changes
    from sim.results.files import make_folder
    from sim.results.screen import screen

    if out is not None:
        make_folder(out)  # before the work, not after it
    with redirect_stdout(sys.stderr):  # what a user's control prints is not the answer
        result = nearfar.simulate(
            scenario,
            trace=trace,
            requests=requests,
            time_scale=time_scale,
            seed=seed,
            seeds=seeds,
            policy=policy,
            decisions=decisions,
            explore=explore,
            bandit=bandit,
            utility=utility,
            set=parse_changes(set_ or []),
            progress=progress("requests"),
        )
    if out is not None:
        result.write(out)
    if as_json:
        print_json(result.summary | ({"bandit": result.bandit} if result.bandit else {}))
    else:
        print(screen(result.summary))
        if result.bandit:
            from sim.online_runs import bandit_screen

            print(f"\n{bandit_screen(result.bandit)}")
        if decisions is not None:
            print(f"\ndecisions logged to {decisions}")
        if out is not None:
            more = " bandit.json bandit.yaml" if result.bandit else ""
            print(f"\nwritten to {out}: requests.parquet timeline.parquet summary.json report.html run.json{more}")


def compare(
    scenario: Scenario = None,
    vary: Annotated[
        list[str] | None, typer.Option(metavar="PATH=A,B", help="Values to compare; may be repeated.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Routing policy of a fleet to compare; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds per variant, the same for all of them.")] = 5,
    trace: Trace = None,
    requests: Requests = None,
    time_scale: TimeScale = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Compare variants of a scenario: common random numbers, paired intervals."""
    from sim.compare import parse_variations
    from sim.loading import parse_changes
    from sim.results.comparison_screen import comparison_screen

    with redirect_stdout(sys.stderr):
        result = nearfar.compare(
            scenario,
            vary=parse_variations(vary or []),
            policies=policy or [],
            seeds=seeds,
            seed=seed,
            set=parse_changes(set_ or []),
            trace=trace,
            requests=requests,
            time_scale=time_scale,
            progress=progress("runs"),
        )
    if as_json:
        print_json(result)
    else:
        print(comparison_screen(result))
