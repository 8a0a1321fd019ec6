"""A calibrated device as a YAML file that the catalogue reads: what was fitted, and plainly what was not.

data = device_mapping(found, catalogue)    checked as the catalogue will read it
write_device(path, data, force=False)      whole or not at all
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from profiles import Catalogue, Device, Dtype, UserError, normalise, parse
from profiles.device import Decode, Prefill
from profiles.extending import extend
from profiles.record import Facts

__all__ = [
    "CalibratedDevice",
    "device_mapping",
    "machine_memory_gib",
    "machine_soc",
    "refuse_itself",
    "refuse_unwritable",
    "write_device",
]

_ASSUMED: dict[str, Any] = {
    "flash_read_gb_s": 1.0,
    "idle_w": 5.0,
    "standby_w": 1.0,
    "thermal": {
        "ambient_c": 25, "skin_limit_c": 95, "resistance_c_per_w": 2.0, "capacitance_j_per_c": 200,
        "throttled_clock": 0.6,
    },
    "battery": None,
    "radios": ["wifi", "ethernet"],
}  # fmt: skip
"""Of a machine on the mains of which nothing but its speed was measured."""
_POWER_W = 15.0
_MODEL_SHARE = 0.5  # of the memory, that models may hold
_AS_TOLD = {"source": "as the system tells", "confidence": "measured"}
_GUESSED_MEMORY_GIB = 8.0
_NOT_MEASURED = "not measured; a guess for a computer on the mains"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedDevice:
    """What a calibration found, and how the device is called."""

    name: str
    source: str
    notes: str
    kind: str
    """npu, gpu or cpu."""
    decode: Mapping[Dtype, Decode]
    prefill: Prefill
    like: str | None = None
    """A device of the catalogue whose heat, battery, memory, radios and power it is taken to have."""

    @property
    def engine_name(self) -> str:
        """Not the bare kind: a device that it is like may have such an engine, with rates of its own."""
        return f"measured-{self.kind}"


def device_mapping(found: CalibratedDevice, catalogue: Catalogue) -> dict[str, Any]:
    """The record, checked as the catalogue will read it. Raises UserError for a `like` that is no device."""
    own = {
        "kind": "device",
        "name": found.name,
        "source": found.source,
        "confidence": "fitted",
        "notes": found.notes,
        "default_engine": found.engine_name,
    }
    engine = {
        "kind": found.kind,
        "decode": {precision: _facts(rate) for precision, rate in found.decode.items()},
        "prefill": _facts(found.prefill),
    }
    return _like(found, own, engine, catalogue.device(found.like)) if found.like else _alone(found, own, engine)


def _alone(found: CalibratedDevice, own: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    told = machine_memory_gib()
    memory = told if told is not None else _GUESSED_MEMORY_GIB
    assumed = ["form", "tier", "model_memory_gib", f"engines.{found.engine_name}.power_w", *_ASSUMED]
    data = {
        **own,
        "form": "hub",
        "tier": "near",
        "soc": machine_soc(),
        "engines": {found.engine_name: {**engine, "power_w": _POWER_W}},
        "memory_gib": memory,
        "model_memory_gib": _MODEL_SHARE * memory,
        **_ASSUMED,
        "provenance": {
            **{path: {"source": _NOT_MEASURED, "confidence": "assumed"} for path in assumed},
            "soc": _AS_TOLD,
            "memory_gib": _AS_TOLD if told is not None else {"source": "a guess", "confidence": "assumed"},
        },
    }
    parse(data, _called(own))
    return data


def _like(found: CalibratedDevice, own: dict[str, Any], engine: dict[str, Any], base: Device) -> dict[str, Any]:
    refuse_itself(own["name"], base)
    source = f"that of {base.name}; not measured"
    data = {
        **own,
        "extends": base.name,
        "engines": {found.engine_name: {**engine, "power_w": base.engine.power_w}},
        "rates": [],
        "provenance": {f"engines.{found.engine_name}.power_w": {"source": source, "confidence": "assumed"}},
    }
    whole = extend(base.model_dump(exclude_none=True) | {"battery": _dumped(base)}, data, same_name=False)
    parse(whole, _called(own))
    return data


def refuse_itself(name: str, base: Device) -> None:
    """Raise UserError for a device that would be like itself."""
    if normalise(base.name) == normalise(name):
        raise UserError("a device cannot be like itself", got=base.name, next_step="give it another name (--name)")


def _dumped(base: Device) -> dict[str, Any] | None:
    return base.battery.model_dump() if base.battery else None


def _called(own: Mapping[str, Any]) -> str:
    """How messages call the record."""
    return f"the calibrated device {own['name']!r}"


def refuse_unwritable(path: Path) -> None:
    """Raise UserError where no file can be written: the nearest folder there is must be one, and ours to write to."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "permission denied" if folder.is_dir() else f"{folder} is no folder"
        raise UserError(f"cannot write {path}: {why}", next_step="give another path")


def write_device(path: Path, data: Mapping[str, Any], *, force: bool) -> None:
    """Write the record, whole or not at all. Raises UserError when a file is there and `force` is not given."""
    if path.exists() and not force:
        raise UserError("a file is there already", got=str(path), next_step="give another name (--out), or --force")
    text = "# Made by `nearfar calibrate`.\n" + yaml.safe_dump(
        dict(data), sort_keys=False, allow_unicode=True, width=110
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", next_step="give another path") from None


def machine_soc() -> str:
    """The processor as the system calls it, or its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def machine_memory_gib() -> float | None:
    """GiB of main memory, to one digit after the point; None where the system does not tell."""
    with suppress(AttributeError, ValueError, OSError):
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None


def _facts(facts: Facts) -> dict[str, Any]:
    """What differs from the defaults, and is known."""
    return facts.model_dump(exclude_defaults=True, exclude_none=True)
