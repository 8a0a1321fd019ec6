"""`nearfar check-policy`, `explain` and `tune`: policies tried out, explained and made."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

import nearfar
from commands.options import Json, Seed, Set
from commands.printing import print_json, refuse, tell

__all__ = ["check_policy", "explain", "tune"]

BUDGET = 100  # policies that a contender of a tuning may try


def check_policy(
    policy: Annotated[
        str, typer.Argument(metavar="FILE", help="Policy: FILE.yaml, FILE.py:FUNCTION, or a built-in's name.")
    ],
    seed: Annotated[
        int | None, typer.Option(help="Accepted by every command; the situations are always the same.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Try a routing policy out in thousands of made-up situations. Exit code 1 when a check fails."""
    from policies.checking.report import report_screen

    with redirect_stdout(sys.stderr):  # what a user's function prints is not the answer
        report = nearfar.check_policy(policy)
    if as_json:
        print_json(report.to_json())
    else:
        print(report_screen(report))
    if not report.passed:
        tell(f"{report.policy} fails: {', '.join(report.failed)}")
        raise typer.Exit(1)


def explain(
    policy: Annotated[str, typer.Argument(help="Policy: FILE.yaml, or a built-in's name.")],
    request: Annotated[
        str,
        typer.Option(
            metavar="NAME=VALUE,...", help="What is asked: task, prompt_tokens, output_tokens, difficulty, privacy."
        ),
    ],
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Who asks: group, battery, heat, network, metered, charging, hub, loaded (its model is in memory).",
        ),
    ] = None,
    load: Annotated[
        str | None, typer.Option(metavar="POOL=LOAD,...", help="Requests per slot of pools (default: they are idle).")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Scenario with the fleet and the pools (default: a small built-in one).")
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Show why a policy chooses what it chooses: every feature's contribution to the score of every possible action."""
    from sim.explaining_screen import explanation_screen
    from sim.loading import parse_changes

    result = nearfar.explain(
        policy,
        request=request,
        device=device or "",
        loads=load or "",
        scenario=scenario,
        changes=parse_changes(set_ or []),
        seed=seed,
    )
    if as_json:
        print_json(result)
    else:
        print(explanation_screen(result))


def tune(
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="SCENARIO...", help="Scenarios with a fleet.")
    ] = None,
    utility: Annotated[
        str,
        typer.Option(metavar="NAME=WEIGHT,...", help="What to maximise, as in quality=1,e2e_s=-0.02,cost_usd=-10."),
    ] = "",
    out: Annotated[Path | None, typer.Option(metavar="POLICY.yaml", help="File to write the policy to.")] = None,
    slo: Annotated[
        str, typer.Option(metavar="NAME=MOST,...", help="Limits to keep, as in ttft_p95_s=2,unanswered=0.01.")
    ] = "",
    judge: Annotated[
        list[str] | None, typer.Option(metavar="SCENARIO", help="Judge in these instead (repeat for more).")
    ] = None,
    load: Annotated[str, typer.Option(metavar="FACTOR,...", help="Tune at these multiples of the requests.")] = "1",
    train_seeds: Annotated[
        str, typer.Option(metavar="SEED,...", help="Seeds to tune on (default: enough for 100,000 requests).")
    ] = "",
    budget: Annotated[int, typer.Option(help="Policies that each contender may try.")] = BUDGET,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    bounds: Annotated[bool, typer.Option(help="Tune the two bounds that know more, too.")] = True,
    free_rules: Annotated[
        bool, typer.Option("--free-rules", help="Tune all numbers of the rules, not only their thresholds.")
    ] = False,
    from_log: Annotated[
        Path | None, typer.Option(metavar="DECISIONS.parquet", help="Learn from a decision log instead.")
    ] = None,
    candidate: Annotated[
        list[str] | None, typer.Option(metavar="POLICY", help="With --from-log: judge this one, too (repeat for more).")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="POLICY", help="With --from-log: what to be better than (default: the log).")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Tune a routing policy against the simulated queues, or learn one from a log of decisions."""
    if from_log is not None:
        from sim.tuning.command import tuned_from_log

        refuse(
            ("SCENARIO", scenarios),
            ("--slo", slo),
            ("--judge", judge),
            ("--load", load if load != "1" else None),
            ("--train-seeds", train_seeds),
            ("--budget", budget if budget != BUDGET else None),
            ("--seed", seed),
            ("--no-bounds", not bounds),
            ("--free-rules", free_rules),
            ("--set", set_),
            beside="--from-log",
        )
        result, told = tuned_from_log(from_log, utility=utility, candidates=candidate or [], baseline=baseline, out=out)
    else:
        from sim.tuning.command import tuned_in

        refuse(("--candidate", candidate), ("--baseline", baseline), beside="scenarios")
        result, told = tuned_in(
            scenarios or [],
            utility=utility,
            out=out,
            slo=slo,
            judge_on=judge or [],
            loads=load,
            train_seeds=train_seeds,
            budget=budget,
            seed=seed,
            bounds=bounds,
            free_rules=free_rules,
            settings=set_ or [],
            told=tell,
        )
    if as_json:
        print_json(result)
    else:
        print(told)
