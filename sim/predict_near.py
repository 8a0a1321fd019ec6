"""One request on one device, without queues (`nearfar latency --device`): latency, energy, heat, memory."""

from __future__ import annotations

import math
from typing import Any

from profiles import Catalogue, Device, UserError
from sim.catalogue_names import found
from sim.device_times import prompt_s
from sim.fleet_spec import NearSpec
from sim.near import Near, near_of

__all__ = ["near_screen", "predict_near"]

_GIB = 2**30


def predict_near(
    catalogue: Catalogue,
    *,
    device: str,
    model: str,
    prompt_tokens: int,
    output_tokens: int,
    precision: str | None = None,
    engine: str | None = None,
    technique: str | None = None,
) -> dict[str, Any]:
    """Seconds at full clock with the model in memory; loading, heat and battery beside them. Raises `UserError`."""
    for what, value in (("prompt", prompt_tokens), ("output", output_tokens)):
        if value < 1:
            raise UserError(f"{what} must be at least 1", got=value)
    asked = found("--device", catalogue.device, device)
    spec = NearSpec.model_validate(
        {"model": model, "precision": precision, "engine": engine, "technique": technique}, strict=False
    )
    near = near_of("--model", asked, spec, catalogue)
    if prompt_tokens + output_tokens > near.max_tokens:
        raise UserError(
            f"prompt plus output exceed what {near.name} can hold on {asked.name}",
            got=prompt_tokens + output_tokens,
            allowed=f"<= {near.max_tokens}",
        )
    more = output_tokens - 1
    prefill_s = prompt_s(near.model, asked.engines[near.engine].prefill, prompt_tokens)
    decode_s = more * near.token_s + near.context_s * (more * prompt_tokens + more * output_tokens / 2)
    energy_j = near.power_w * (prefill_s + decode_s)
    rates = [asked.confidence_of(f"engines.{near.engine}.{name}") for name in ("decode", "prefill")]
    return {
        "device": asked.name,
        "model": near.name,
        "engine": near.engine,
        "ttft_s": prefill_s,
        "cold_ttft_s": near.load_s + prefill_s,
        "tpot_s": decode_s / more if more else None,
        "decode_tok_s": more / decode_s if more else None,
        "prefill_tok_s": prompt_tokens / prefill_s,
        "e2e_s": prefill_s + decode_s,
        "energy_j": energy_j,
        **_heat(asked, near),
        **_battery(asked, energy_j),
        "weight_bytes": near.weight_bytes,
        "memory_limit_bytes": asked.model_memory_bytes,
        "max_tokens": near.max_tokens,
        "confidence": {"decode": rates[0], "prefill": rates[1]},
        "assumed": [
            *(f"{one.kind} {one.name}: {', '.join(one.assumed_fields())}" for one in (asked, near.model) if
              one.assumed_fields()),
            *near.assumed,
        ],
    }  # fmt: skip


def _heat(device: Device, near: Near) -> dict[str, float | None]:
    """When the clock is lowered if it computes without a pause, from room temperature, its screen on (rule E3)."""
    heat = device.thermal
    top = heat.ambient_c + heat.resistance_c_per_w * (device.idle_w + near.power_w)
    rest = heat.ambient_c + heat.resistance_c_per_w * device.idle_w
    if top <= heat.skin_limit_c:
        return {"throttles_after_s": None, "throttled_clock": heat.throttled_clock}
    ratio = (top - rest) / (top - heat.skin_limit_c)
    return {
        "throttles_after_s": max(0.0, heat.time_constant_s * math.log(ratio)),
        "throttled_clock": heat.throttled_clock,
    }


def _battery(device: Device, energy_j: float) -> dict[str, float | None]:
    if device.battery is None:
        return {"answers_per_charge": None, "battery_pct": None}
    return {
        "answers_per_charge": device.battery.usable_j / energy_j,
        "battery_pct": 100 * energy_j / device.battery.capacity_j,
    }


def near_screen(result: dict[str, Any]) -> str:
    """One screen: figures, heat and battery, then what is assumed."""
    tpot = "           -" if result["tpot_s"] is None else f"{result['tpot_s'] * 1e3:12,.2f} ms"
    decode = "" if result["tpot_s"] is None else f"   decode  {result['decode_tok_s']:12,.1f} tok/s"
    after = result["throttles_after_s"]
    heat = "never, by heat" if after is None else f"after {after:,.0f} s, to {result['throttled_clock']:.0%}"
    confidence = ", ".join(f"{name} {value}" for name, value in result["confidence"].items())
    lines = [
        f"{result['model']} on the {result['engine']} of {result['device']}   (confidence: {confidence})",
        "",
        f"  TTFT      {result['ttft_s'] * 1e3:12,.1f} ms   prefill {result['prefill_tok_s']:12,.0f} tok/s   "
        f"cold {result['cold_ttft_s'] * 1e3:,.0f} ms",
        f"  TPOT      {tpot}{decode}",
        f"  E2E       {result['e2e_s']:12,.2f} s",
        f"  energy    {result['energy_j']:12,.1f} J a request" + _battery_words(result),
        f"  clock     lowered {heat}",
        f"  memory    {result['weight_bytes'] / _GIB:12,.2f} GiB of weights of "
        f"{result['memory_limit_bytes'] / _GIB:.1f} allowed: up to {result['max_tokens']:,} tokens",
    ]
    if result["assumed"]:
        lines += ["", "  assumed: " + "; ".join(result["assumed"])]
    return "\n".join(lines)


def _battery_words(result: dict[str, Any]) -> str:
    if result["answers_per_charge"] is None:
        return ", from the mains"
    return f", {result['battery_pct']:.3f} % of the battery; {result['answers_per_charge']:,.0f} from full to the floor"
