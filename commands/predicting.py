"""`nearfar latency`, `validate` and `calibrate`: how long one deployment takes, and how wrong that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nearfar
from commands.options import Json, Profiles
from commands.printing import print_json, progress, tell
from nearfar import UserError

__all__ = ["calibrate", "latency", "validate"]


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
        print_json(result)
    else:
        print(near_screen(result) if device is not None else latency_screen(result))


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
            tell("the coefficients were fitted to these very rows; docs/accuracy.md has the errors held out")
        if out is not None:
            tell(f"every cell is in {checked.write(out)}")
    if as_json:
        print_json(result)
    else:
        print(screen(result))


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
            progress=progress("timings"),
        )
    if as_json:
        print_json(result)
    else:
        print(calibration_screen(result))
