"""The command line: parse, call, print. One command a job."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import nearfar
from nearfar import UserError

app = typer.Typer(
    name="nearfar",
    help="Decide where a language-model request should run, and prove what that decision costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
profiles_app = typer.Typer(
    help="The facts: accelerators, models, engine coefficients.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(profiles_app, name="profiles")
models_app = typer.Typer(
    help="Local models: pull them, list them, find their files.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models_app, name="models")
quality_app = typer.Typer(
    help="Which prompts a target answers right: learned from text.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(quality_app, name="quality")

BUDGET = 100  # policies that a contender of a tuning may try

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all random draws (default: the scenario's).")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the scenario.")]
Scenario = Annotated[str | None, typer.Argument(help="Scenario file (default: a small built-in one).")]
Trace = Annotated[Path | None, typer.Option(help="Replay this trace instead of the scenario's arrivals and lengths.")]
Requests = Annotated[int | None, typer.Option(help="Take so many requests; beyond a trace's end it is repeated.")]
TimeScale = Annotated[float | None, typer.Option(help="Multiply the stamps of the trace; 0.5 is twice the load.")]
Profiles = Annotated[Path | None, typer.Option(help="Folder of your own facts; they go before the built-in ones.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nearfar {nearfar.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Decide where a language-model request should run, and prove what that decision costs."""


@app.command()
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
            progress=_progress("requests"),
        )
    if out is not None:
        result.write(out)
    if as_json:
        _print_json(result.summary | ({"bandit": result.bandit} if result.bandit else {}))
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


@app.command()
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
            progress=_progress("runs"),
        )
    if as_json:
        _print_json(result)
    else:
        print(comparison_screen(result))


@app.command()
def latency(
    model: Annotated[str, typer.Option(help="Model, by name or alias.")],
    prompt: Annotated[int, typer.Option(help="Prompt tokens.")],
    output: Annotated[int, typer.Option(help="Output tokens.")],
    accelerator: Annotated[str | None, typer.Option(help="Accelerator, by name or alias.")] = None,
    device: Annotated[str | None, typer.Option(help="Device, by name or alias, instead of an accelerator.")] = None,
    technique: Annotated[str | None, typer.Option(help="With a device: speculative decoding, by name.")] = None,
    precision: Annotated[str | None, typer.Option(help="Weights: bf16, fp16, fp8, int8, fp4, int4.")] = None,
    kv_precision: Annotated[str | None, typer.Option(help="KV cache; default bf16.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="Serving engine (default vllm); with a device, one of its compute engines.")
    ] = None,
    tp: Annotated[int, typer.Option(help="Tensor parallelism.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline parallelism.")] = 1,
    expert_parallel: Annotated[bool, typer.Option(help="Spread whole experts over the accelerators.")] = False,
    batch: Annotated[int, typer.Option(help="Sequences that decode together.")] = 1,
    context: Annotated[
        int | None, typer.Option(help="Context of each when decoding begins (default: the prompt).")
    ] = None,
    max_num_batched_tokens: Annotated[int, typer.Option(help="Chunk of a prefill.")] = 2048,
    profiles: Profiles = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a fact, such as accelerator.bandwidth_gb_s=4000."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Accepted by every command; nothing here is random.")] = None,
    as_json: Json = False,
) -> None:
    """Latency, energy and memory of one deployment, or of a model on a device, without queues."""
    from sim.latency_screen import latency_screen
    from sim.loading import parse_changes
    from sim.predict_near import near_screen

    result = nearfar.latency(
        model=model,
        accelerator=accelerator,
        device=device,
        technique=technique,
        prompt=prompt,
        output=output,
        precision=precision,
        kv_precision=kv_precision,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        expert_parallel=expert_parallel,
        batch=batch,
        context=context,
        engine=engine,
        max_num_batched_tokens=max_num_batched_tokens,
        profiles=profiles,
        set=parse_changes(set_ or []),
    )
    if as_json:
        _print_json(result)
    else:
        print(near_screen(result) if device is not None else latency_screen(result))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option(help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented scenario to start from."""
    from sim.loading import template

    if path.exists() and not force:
        raise UserError("a file is there already", got=str(path), next_step="give another name, or --force")
    try:
        path.write_text(template().replace("{file}", path.name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", next_step="give another path") from None
    print(f"written: {path}; run it with: nearfar simulate {path}")


@app.command()
def check(
    scenario: Annotated[str, typer.Argument(help="Scenario file.")],
    trace: Trace = None,
    requests: Requests = None,
    time_scale: TimeScale = None,
    seed: Seed = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Check a scenario without running it: names, memory, workload, files."""
    from sim.check import check_scenario, check_screen
    from sim.loading import parse_changes

    result = check_scenario(
        scenario, changes=parse_changes(set_ or []), trace=trace, requests=requests, time_scale=time_scale, seed=seed
    )
    if as_json:
        _print_json(result)
    else:
        print(check_screen(result))


@app.command("check-policy")
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
    from policies.learning.report import report_screen
    from sim.conforming import check_policy_source

    with redirect_stdout(sys.stderr):  # what a user's function prints is not the answer
        report = check_policy_source(policy)
    if as_json:
        _print_json(report.to_json())
    else:
        print(report_screen(report))
    if not report.passed:
        _tell(f"{report.policy} fails: {', '.join(report.failed)}")
        raise typer.Exit(1)


@app.command()
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
    from sim.explaining import explain_choice
    from sim.explaining_screen import explanation_screen
    from sim.loading import parse_changes

    result = explain_choice(
        policy,
        request=request,
        device=device or "",
        loads=load or "",
        scenario=scenario,
        changes=parse_changes(set_ or []),
        seed=seed,
    )
    if as_json:
        _print_json(result)
    else:
        print(explanation_screen(result))


@app.command()
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

        _refuse(
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

        _refuse(("--candidate", candidate), ("--baseline", baseline), beside="scenarios")
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
            told=_tell,
        )
    if as_json:
        _print_json(result)
    else:
        print(told)


@app.command()
def validate(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE.csv", help="Published measurements (default: those that ship).")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Replay this recorded engine run: meta.json, requests.jsonl.")
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="With --run: the GPU, where the folder does not say.")] = None,
    scheduling: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Replay a Vidur run with step times fitted to its own batches.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With measurements: write every cell to rows.csv there.")
    ] = None,
    profiles: Profiles = None,
    seed: Annotated[int | None, typer.Option(help="Accepted by every command; nothing here is random.")] = None,
    as_json: Json = False,
) -> None:
    """Say how wrong predictions are: against published measurements, or a recorded run, request by request."""
    if sum(one is not None for one in (file, run, scheduling)) > 1:
        raise UserError("two things to validate at once", allowed="FILE.csv, --run DIR, --scheduling DIR, or nothing")
    if run is None and accelerator is not None:
        raise UserError("--accelerator goes with --run", got=accelerator)
    if out is not None and (run or scheduling):
        raise UserError("--out goes with measurements, not with a run", got=str(out))
    catalogue = nearfar.Catalogue(profiles)
    if run is not None:
        from sim.replay import replay
        from sim.replay_input import load_run
        from sim.replay_screen import replay_screen

        result = replay(load_run(run, accelerator=accelerator), catalogue).to_json()
        screen = replay_screen
    elif scheduling is not None:
        from sim.calibration.step_fit import scheduling_alone, scheduling_screen

        result, screen = scheduling_alone(scheduling), scheduling_screen
    else:
        from sim.validation import validate_file, validate_shipped
        from sim.validation_screen import validation_screen

        checked = validate_file(file, catalogue) if file else validate_shipped(catalogue)
        result, screen = checked.to_json(), validation_screen
        if file is None:
            _tell("the coefficients were fitted to these very rows; docs/accuracy.md has the errors held out")
        if out is not None:
            _tell(f"every cell is in {checked.write(out)}")
    if as_json:
        _print_json(result)
    else:
        print(screen(result))


@app.command()
def calibrate(
    model: Annotated[
        str | None, typer.Argument(help="A pulled model, or the path of a GGUF file, to time on this machine.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Fit to the rates in this file instead of timing a model.")] = None,
    name: Annotated[str, typer.Option(help="Name of the device.")] = "my-device",
    out: Annotated[Path | None, typer.Option(help="File to write (default: NAME.yaml).")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite a file that is there.")] = False,
    like: Annotated[
        str | None, typer.Option(help="Device of the catalogue whose heat, battery, memory and power it has.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="With --csv: what the rates were measured on; npu, gpu or cpu (default: cpu).")
    ] = None,
    check: Annotated[
        str | None, typer.Option(help="A second model to predict from the fit, then to time: how far it carries.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the model (default: 1).")] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick", help="Few short timings, once each: to try it, not to rely on it.")
    ] = None,
    budget_s: Annotated[
        float | None, typer.Option(help="Seconds to spend (default: 300); longer prompts are left out beyond it.")
    ] = None,
    profiles: Profiles = None,
    seed: Annotated[int | None, typer.Option(help="Accepted by every command; nothing here is random.")] = None,
    as_json: Json = False,
) -> None:
    """Make a device of your own: from a CSV of rates, or by timing a local model on this machine."""
    from scheduler.calibrate import Target, calibrate_model, calibrate_rates, calibration_screen

    if (model is None) == (csv is None):
        raise UserError(
            "give a model to time, or --csv with rates: one of the two", next_step="see nearfar models list"
        )
    timing = {"check": check, "threads": threads, "quick": quick, "budget_s": budget_s}
    strange = timing if csv is not None else {"engine": engine}
    if given := [f"--{option.replace('_', '-')}" for option, value in strange.items() if value is not None]:
        where = "a model to time, not with --csv" if csv is not None else "--csv, not with a model to time"
        raise UserError(f"{', '.join(given)} goes with {where}")
    target = Target(
        out=out or Path(f"{name}.yaml"), name=name, like=like, force=force, catalogue=nearfar.Catalogue(profiles)
    )
    if csv is not None:
        result = calibrate_rates(csv, target, engine=engine or "cpu")
    else:
        assert model is not None
        result = calibrate_model(
            model,
            target,
            check=check,
            threads=1 if threads is None else threads,
            quick=bool(quick),
            budget_s=300.0 if budget_s is None else budget_s,
            progress=_progress("timings"),
        )
    if as_json:
        _print_json(result)
    else:
        print(calibration_screen(result))


@models_app.command("pull")
def models_pull(
    model: Annotated[str, typer.Argument(help="A known name, hf:OWNER/REPOSITORY/FILE.gguf, or the path of a file.")],
    name: Annotated[str | None, typer.Option(help="Keep it under this name.")] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the licence's terms without being asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a model's weights, verified, or register a GGUF file that is there. The only command that downloads."""
    from scheduler.models import ModelStore

    result = ModelStore().pull(model, name=name, ask=_terms(accept_terms), progress=_progress("bytes"), tell=_tell)
    if as_json:
        _print_json(asdict(result))
    else:
        print(f"{result.name}: {result.path} ({result.bytes:,} bytes, verified by its {result.verified})")


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Models that are there, and those that can be pulled by name."""
    from scheduler.models import KNOWN, ModelStore

    store = ModelStore()
    there = store.list()
    missing = sorted(set(KNOWN) - set(store.names()))
    if as_json:
        _print_json({"folder": str(store.folder), "models": [asdict(one) for one in there], "known": sorted(KNOWN)})
        return
    for one in there:
        print(f"{one.name:28} {one.architecture:10} {one.bytes / 1e6:10,.0f} MB  {one.licence}")
    print(f"{store.folder}: {len(there)} models" + (f"; to pull by name: {', '.join(missing)}" if missing else ""))


@models_app.command("path")
def models_path(
    name: Annotated[str, typer.Argument(help="Name of a model.")],
    as_json: Json = False,
) -> None:
    """The file of a model."""
    from scheduler.models import ModelStore

    path = str(ModelStore().path(name))
    if as_json:
        _print_json({"name": name, "path": path})
    else:
        print(path)


@quality_app.command("fit")
def quality_fit(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Prompts with correctness: CSV, .gz, Parquet, JSONL.")
    ],
    near: Annotated[str, typer.Option(metavar="COL", help="Correctness of the near target: True/False, or 0 to 1.")],
    far: Annotated[str, typer.Option(metavar="COL", help="Correctness of the far target.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="File to write.")],
    task: Annotated[
        str | None, typer.Option(metavar="COL", help="Category of a prompt: steadies the fit, scoring needs none.")
    ] = None,
    answer_chars: Annotated[
        str | None, typer.Option(metavar="COL", help="Second stage: length of the near answer in characters.")
    ] = None,
    answer: Annotated[str | None, typer.Option(metavar="COL", help="Second stage: text of the near answer.")] = None,
    logprob: Annotated[
        str | None, typer.Option(metavar="COL", help="Second stage: mean log-probability of its tokens.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn from per-prompt tables how likely the near and the far target answer right."""
    from policies.text.fit import AnswerColumns, fit_tables
    from policies.text.screens import fit_screen

    columns = AnswerColumns(chars=answer_chars, answer=answer, logprob=logprob)
    model = fit_tables(tables, near, far, task=task, answers=columns)
    model.save(out)
    if as_json:
        _print_json({**model.header, "out": str(out)})
    else:
        print(fit_screen(model.header, str(out)))


@quality_app.command("score")
def quality_score(
    model: Annotated[Path, typer.Argument(help="What nearfar quality fit wrote.")],
    table: Annotated[Path, typer.Argument(help="Prompts: a table with a column named prompt.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: row, score.")],
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Score with the near answer in view: needs the columns of the fit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a score for every prompt: what sending it far is expected to gain; higher means send far."""
    from policies.text.scoring import score_file

    result = score_file(model, table, out, cascade=cascade)
    if as_json:
        _print_json(result)
    else:
        print(f"{result['rows']:,} rows written to {result['out']}")
        for note in result["notes"]:
            print(f"note: {note}")


@quality_app.command("evaluate")
def quality_evaluate(
    model: Annotated[Path, typer.Argument(help="What nearfar quality fit wrote.")],
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="Prompts with correctness, other than those of the fit.")
    ],
    near: Annotated[str, typer.Option(metavar="COL", help="Correctness of the near target.")],
    far: Annotated[str, typer.Option(metavar="COL", help="Correctness of the far target.")],
    task: Annotated[
        str | None, typer.Option(metavar="COL", help="Category, for figures within it (default: task, category ...).")
    ] = None,
    as_json: Json = False,
) -> None:
    """How much of the gap between near and far a model's scores recover, beside simple scores, with intervals."""
    from policies.text.evaluate import evaluate
    from policies.text.screens import evaluation_screen

    result = evaluate(model, tables, near, far, task=task)
    if as_json:
        _print_json(result)
    else:
        print(evaluation_screen(result))


@profiles_app.command("list")
def profiles_list(
    kind: Annotated[str | None, typer.Option(help="Kind of profile: model, device, task, ...")] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Names, confidence and source of the facts."""
    from profiles.screens import list_records, list_screen

    rows = list_records(nearfar.Catalogue(profiles), kind)
    if as_json:
        _print_json({"profiles": rows})
    else:
        print(list_screen(rows))


@profiles_app.command("show")
def profiles_show(
    name: Annotated[str, typer.Argument(help="Name or alias.")],
    kind: Annotated[str | None, typer.Option(help="Kind of profile: model, device, task, ...")] = None,
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """One record with everything that is known about it."""
    from profiles.screens import record_dict, record_screen

    catalogue = nearfar.Catalogue(profiles)
    record = catalogue.find(name, kind)
    if as_json:
        _print_json(record_dict(catalogue, record))
    else:
        print(record_screen(catalogue, record))


@profiles_app.command("schema")
def profiles_schema(kind: Annotated[str, typer.Argument(help="A kind of profile, or scenario.")]) -> None:
    """JSON Schema of a kind of file, for editors."""
    if kind == "scenario":
        from sim.loading import json_schema as scenario_schema

        _print_json(scenario_schema())
        return
    from profiles import KINDS, did_you_mean, json_schema

    if kind not in KINDS:
        raise UserError("no such kind of file", got=kind, next_step=did_you_mean(kind, [*KINDS, "scenario"]))
    _print_json(json_schema(kind))


def _tell(text: str) -> None:
    print(f"nearfar: {text}", file=sys.stderr)


def _refuse(*given: tuple[str, object], beside: str) -> None:
    """Raise `UserError` for options that mean nothing beside another one."""
    for name, value in given:
        if value:
            raise UserError(f"{name} means nothing with {beside}", got=str(value), next_step="leave one of them out")


def _terms(accepted: bool) -> Callable[[Any, str], bool] | None:
    """Asks on the terminal whether terms are accepted; None where nobody can be asked."""
    if not accepted and not sys.stdin.isatty():
        return None

    def ask(terms: Any, text: str) -> bool:
        _tell(f"{terms.name}, {terms.url}\n\n{text}")
        if accepted:
            _tell("accepted by --accept-terms")
        return accepted or typer.confirm("Do you accept these terms?", err=True)

    return ask


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _progress(what: str) -> Callable[[int, int], None]:
    """Progress on stderr: rewritten in place on a terminal, a line every ten seconds elsewhere."""
    terminal = sys.stderr.isatty()
    began = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - began < 1.0 or now - last < (0.2 if terminal else 10.0):
            return
        last = now
        end = "\r" if terminal and done != total else "\n"
        count = f"{done:,} of {total:,} {what}" if total else f"{done:,} rows read"
        print(f"nearfar: {count}, {now - began:.0f} s", end=end, file=sys.stderr, flush=True)

    return show


def _interrupted(number: int, _frame: object) -> None:
    print("nearfar: interrupted; nothing half-written is left behind", file=sys.stderr)
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line. Bad input: one line on stderr, exit code 2. Ctrl-C: exit code 130; ended: 143."""
    before = {number: signal.signal(number, _interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"nearfar: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError:
        print("nearfar: error: not enough memory; simulate fewer requests or replicas", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader of stdout went away: `nearfar ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except OSError as error:
        if error.filename is not None:
            told = UserError(f"a file cannot be used: {error.strerror}", got=str(error.filename))
            print(f"nearfar: error: {told}", file=sys.stderr)
            raise SystemExit(2) from None
        print(f"nearfar: error: cannot write the answer: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(2) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
