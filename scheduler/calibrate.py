"""`nearfar calibrate`: a device from a user's rates, or from timing a GGUF model on this machine.

calibrate_rates(Path("rates.csv"), Target(out=Path("my-phone.yaml"), name="my-phone"))
calibrate_model("smollm2-135m-instruct", Target(out=Path("my-pc.yaml"), name="my-pc"), check="gemma3-270m")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiles import Catalogue, Dtype, UserError
from profiles.device import Decode, Prefill
from scheduler.device_file import CalibratedDevice, device_mapping, refuse_itself, refuse_unwritable, write_device
from scheduler.gguf import read_header
from scheduler.gguf_model import GgufModel, describe
from scheduler.measure import DECODE_PLAN, FULL_PLAN, QUICK_PLAN, Measured, measure
from scheduler.models import ModelStore
from sim.calibration.local_fit import ErrorOf, LocalFit, LocalModel, Timing, fit_local, predicted_s, relative_errors
from sim.calibration.rates_csv import read_rates
from sim.calibration.rates_fit import fit_rates

__all__ = ["Target", "calibrate_model", "calibrate_rates", "calibration_screen"]

Progress = Callable[[int, int], None]
_NOT_MEASURED = "power, heat, battery and memory are not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The device file to make, and where names are looked up."""

    out: Path
    name: str
    like: str | None = None
    """A device of the catalogue that it is like in all that is not fitted."""
    force: bool = False
    catalogue: Catalogue = field(default_factory=Catalogue)

    def refuse_early(self) -> None:
        """Raise UserError for what would fail only after minutes of measuring."""
        if not re.fullmatch(r"\w[\w .+-]{0,99}", self.name):
            raise UserError(
                "a device cannot be called that",
                got=self.name,
                allowed="up to 100 letters, digits, ' ', '.', '_', '+', '-'",
                next_step="give another --name",
            )
        if self.out.is_dir():
            raise UserError("the file to write is a folder", got=str(self.out), next_step="give a file (--out)")
        if self.out.exists() and not self.force:
            raise UserError(
                "a file is there already", got=str(self.out), next_step="give another name (--out), or --force"
            )
        if self.like:
            refuse_itself(self.name, self.catalogue.device(self.like))
        refuse_unwritable(self.out)


def calibrate_rates(csv: Path, target: Target, *, engine: str = "cpu") -> dict[str, Any]:
    """Fit a device to the rates of a CSV file, and write it. Raises UserError for all that is wrong with them."""
    target.refuse_early()
    rows = read_rates(csv, target.catalogue)
    fit = fit_rates(rows)
    models = dict.fromkeys(row.model.name for row in rows)
    source = f"fitted to {len(rows)} rates of {', '.join(models)} in {csv.name}"
    return _write(target, engine, source, fit.decode, fit.prefill, fit.errors, fit.notes)


def calibrate_model(
    model: str,
    target: Target,
    *,
    check: str | None = None,
    threads: int = 1,
    quick: bool = False,
    budget_s: float = 300.0,
    progress: Progress = lambda done, total: None,
    store: ModelStore | None = None,
) -> dict[str, Any]:
    """Time a model (a pulled one's name, or a path) here, fit a device to it, and write it.

    With `check` another model's prompts and answers are predicted from the fit and then timed: how far the constants
    carry to a model that they never saw. Raises UserError for files that cannot be used.
    """
    target.refuse_early()
    store = ModelStore() if store is None else store
    path, gguf = _open(model, store)
    other = _open(check, store) if check else None
    plan = QUICK_PLAN if quick else FULL_PLAN
    measured = measure(path, gguf, plan=plan, threads=threads, budget_s=budget_s, progress=progress)
    fit = fit_local(measured.timings, _local(gguf, measured))
    errors: dict[str, dict[str, ErrorOf]] = dict(fit.errors)
    notes = [*measured.notes, *fit.notes]
    rows = _rows(gguf, measured.timings, fit)
    if other is not None:
        second = measure(other[0], other[1], plan=DECODE_PLAN, threads=threads, budget_s=budget_s, progress=progress)
        errors |= _carried(other[1], second.timings, fit)
        rows += _rows(other[1], second.timings, fit)
        notes += [f"{other[1].model.name}: {note}" for note in second.notes]
        notes += _differences(gguf, other[1])
    source = (
        f"fitted to timings of {path.name} ({measured.runtime}, {threads} {'thread' if threads == 1 else 'threads'})"
    )
    result = _write(target, "cpu", source, {gguf.precision: fit.decode}, fit.prefill, errors, notes)
    return {
        **result,
        "model": gguf.model.name,
        "runtime": measured.runtime,
        "threads": threads,
        "memory_gb_s": measured.memory_gb_s,
        "timings": rows,
    }


def _open(model: str, store: ModelStore) -> tuple[Path, GgufModel]:
    path = Path(model)
    if not path.is_file():
        path = store.path(model)
    return path, describe(read_header(path), path.stem.lower())


def _local(gguf: GgufModel, measured: Measured) -> LocalModel:
    return LocalModel(
        model=gguf.model,
        precision=gguf.precision,
        head_precision=gguf.head_precision,
        layer_bytes=gguf.layer_bytes,
        memory_gb_s=measured.memory_gb_s,
    )


def _carried(gguf: GgufModel, timings: Iterable[Timing], fit: LocalFit) -> dict[str, dict[str, ErrorOf]]:
    """Errors on another model, as the fitted device would predict it: by its own precisions."""
    found = {}
    for kind in ("decode", "prefill"):
        rows = [row for row in timings if row.kind == kind]
        mine = [_predicted(row, gguf, fit) for row in rows]
        found[f"{kind} of {gguf.model.name}"] = {"never seen": relative_errors(mine, [row.seconds for row in rows])}
    return found


def _predicted(row: Timing, gguf: GgufModel, fit: LocalFit) -> float:
    decode = fit.decode.model_copy(update={"head_precision": gguf.head_precision})
    return predicted_s(row, gguf.model, gguf.precision, decode, fit.prefill)


def _differences(first: GgufModel, second: GgufModel) -> list[str]:
    if first.types == second.types:
        return []
    return [f"{second.model.name} stores its weights as {', '.join(second.types)}, the fit's model as "
            f"{', '.join(first.types)}: kernels differ"]  # fmt: skip


def _rows(gguf: GgufModel, timings: Iterable[Timing], fit: LocalFit) -> list[dict[str, Any]]:
    return [
        {
            "model": gguf.model.name,
            "kind": row.kind,
            "tokens": row.tokens,
            "sequences": row.sequences,
            "measured_s": row.seconds,
            "predicted_s": None if row.kind == "layers" else _predicted(row, gguf, fit),
            "held_out": row.held_out,
            "spread": row.spread,
        }
        for row in timings
    ]


def _write(
    target: Target,
    engine: str,
    source: str,
    decode: Mapping[Dtype, Decode],
    prefill: Prefill,
    errors: Mapping[str, Mapping[str, ErrorOf]],
    notes: Iterable[str],
) -> dict[str, Any]:
    if engine not in ("npu", "gpu", "cpu"):
        raise UserError("no such kind of engine", got=engine, allowed="npu, gpu, cpu")
    told = [*dict.fromkeys(notes), _NOT_MEASURED + (f": those of {target.like}" if target.like else ": guesses")]
    found = CalibratedDevice(
        name=target.name, source=source, notes=". ".join([*_error_lines(errors), *told]), kind=engine,
        decode=decode, prefill=prefill, like=target.like,
    )  # fmt: skip
    write_device(target.out, device_mapping(found, target.catalogue), force=target.force)
    return {
        "device": target.name,
        "out": str(target.out),
        "source": source,
        "decode": {name: rate.model_dump(exclude_none=True) for name, rate in decode.items()},
        "prefill": prefill.model_dump(),
        "errors": {what: {how: one._asdict() for how, one in of.items()} for what, of in errors.items()},
        "notes": told,
    }


def _error_lines(errors: Mapping[str, Mapping[str, ErrorOf]]) -> list[str]:
    return [
        f"{what}, {how.replace('_', ' ')}: {one.mean:.1%} off on average, {one.largest:.1%} at most (n = {one.n})"
        for what, of in errors.items()
        for how, one in of.items()
    ]


def calibration_screen(result: Mapping[str, Any]) -> str:
    """What was fitted, how far it is off, and what to know of it."""
    lines = [f"{result['device']}: {result['source']}", ""]
    lines += [f"  decode   {name:5} " + _figures(rate) for name, rate in result["decode"].items()]
    lines += ["  prefill        " + _figures(result["prefill"]), "", "  |predicted / measured - 1|    mean   most    n"]
    for what, of in result["errors"].items():
        for how, one in of.items():
            words = f"{what}, {how.replace('_', ' ')}"
            lines.append(f"    {words:42} {one['mean']:7.1%} {one['largest']:6.1%} {one['n']:4}")
    lines += ["", *(f"  note: {note}" for note in result["notes"]), "", f"written: {result['out']}"]
    return "\n".join(lines)


def _figures(facts: Mapping[str, Any]) -> str:
    """Fields and values; groups inside a group in parentheses."""
    parts = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            parts.append(f"{name} ({_figures(value)})")
        elif value not in (0.0, None):
            parts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts)
