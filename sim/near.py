"""A device with a model, resolved: what rules E and V of the fleet need to know of one kind of row.

Times follow `profiles.device`: a started chunk of prefill, a token that reads weights and cache. Bytes are counted as
for the rates that devices publish: layers at the precision asked for, the head as the engine stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from profiles import BYTES_PER_VALUE, Catalogue, Device, Dtype, Model, Technique, UserError, did_you_mean
from profiles.device import ComputeEngine, Decode, Prefill
from sim.catalogue_names import found
from sim.device_times import CACHE_BYTES, position_s, prompt_s
from sim.fleet import MODALITIES, RowKind
from sim.fleet_spec import Modality, NearSpec

__all__ = ["Near", "kind_of", "modality_mask", "near_of"]

_VISION_BYTES = 2.0  # and so are the weights of a vision encoder
_TYPICAL_PROMPT = 512  # tokens at which a fleet's kernels take what does not grow evenly with a prompt
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A model on a device: seconds, bytes, limits. Times are those of full clock, after speculative decoding."""

    model: Model
    precision: Dtype
    technique: Technique | None
    engine: str
    modalities: int
    chunk_tokens: int
    chunk_s: float
    token_s: float
    context_s: float
    load_s: float
    power_w: float
    weight_bytes: float
    max_tokens: int
    assumed: tuple[str, ...]

    @property
    def name(self) -> str:
        """As people write it: `milm2-4b int4 with bita`."""
        return f"{self.model.name} {self.precision}" + (f" with {self.technique.name}" if self.technique else "")


def near_of(where: str, device: Device, spec: NearSpec, catalogue: Catalogue) -> Near:
    """Names to facts, facts to constants; `where` opens messages.

    Raises `UserError` for names that are unknown, a precision that the engine does not run, and what does not fit.
    """
    name, engine = _engine(where, device, spec)
    precision = _precision(where, device, engine, spec)
    model = found(f"{where}.model", catalogue.model, spec.model)
    technique = found(f"{where}.technique", catalogue.technique, spec.technique) if spec.technique else None
    draft = catalogue.model(technique.draft_model) if technique and technique.draft_model else None
    models = (model, draft) if draft else (model,)
    modalities = modality_mask(f"{where}.modalities", spec.modalities, model)

    rate = engine.decode[precision]
    head_bytes = BYTES_PER_VALUE[rate.head_precision]
    weights = sum(_weight_bytes(one, precision, head_bytes) for one in models)
    if technique:
        weights += technique.extra_params_share * _weight_bytes(model, precision, head_bytes)
    if model.vision and modalities & 2:
        weights += model.vision.params_b * 1e9 * _VISION_BYTES
    head_rate = rate.bandwidth_gb_s / (rate.head_bandwidth_gb_s or rate.bandwidth_gb_s)
    read = model.active_layer_params * BYTES_PER_VALUE[precision] + model.head_params * head_bytes * head_rate
    speedup = technique.speedup if technique else 1.0
    return Near(
        model=model,
        precision=precision,
        technique=technique,
        engine=name,
        modalities=modalities,
        chunk_tokens=engine.prefill.chunk_tokens,
        chunk_s=_chunk_s(model, engine),
        token_s=(engine.token_s(precision, read + _window_bytes(model)) + _measured_s(model, rate)) / speedup,
        context_s=position_s(model, rate) / speedup,
        load_s=weights / (device.flash_read_gb_s * 1e9),
        power_w=engine.power_w,
        weight_bytes=weights,
        max_tokens=_max_tokens(where, device, models, weights),
        assumed=_assumed(model, technique, draft) + _prompt_assumed(device, engine),
    )


def kind_of(
    name: str,
    device: Device,
    near: Near | None,
    *,
    model: int,
    pressure_per_hour: float,
    screen_share: float,
    networks: Sequence[float] = (),
    network_period_s: float = 1800.0,
) -> RowKind:
    """The kind of row that a device is, with a model (its number among the fleet's) or without."""
    heat, battery = device.thermal, device.battery
    bare = RowKind(
        name=name,
        device=device.name,
        background_w=screen_share * device.idle_w + (1.0 - screen_share) * device.standby_w,
        ambient_c=heat.ambient_c,
        limit_c=heat.skin_limit_c,
        resistance_c_per_w=heat.resistance_c_per_w,
        capacitance_j_per_c=heat.capacitance_j_per_c,
        throttled_clock=heat.throttled_clock,
        capacity_j=battery.capacity_j if battery else 0.0,
        floor_j=battery.saver_floor * battery.capacity_j if battery else 0.0,
        charge_w=battery.charge_w if battery else 0.0,
        charge_from_s=battery.charge_from_hour * 3600.0 if battery else 0.0,
        charge_s=battery.charge_hours * 3600.0 if battery else 0.0,
        pressure_per_s=pressure_per_hour / 3600.0,
        networks=tuple(networks),
        network_period_s=network_period_s,
    )
    if near is None:
        return bare
    return replace(
        bare,
        model=model,
        modalities=near.modalities,
        max_tokens=near.max_tokens,
        chunk_tokens=near.chunk_tokens,
        chunk_s=near.chunk_s,
        token_s=near.token_s,
        context_s=near.context_s,
        load_s=near.load_s,
        power_w=near.power_w,
    )


def modality_mask(where: str, given: Sequence[Modality] | None, model: Model | None) -> int:
    """Bits of `MODALITIES`; text and audio, and images where the model sees, when none are given.

    Raises `UserError` for images without a vision encoder. A model that is not known takes what it is said to.
    """
    if given is None:
        return 5 | (2 if model is None or model.vision else 0)
    if "image" in given and model is not None and model.vision is None:
        raise UserError(
            f"{where}: {model.name} has no vision encoder",
            got="image",
            allowed="text, audio",
            next_step="take a model with one (nearfar profiles list model), or leave image out",
        )
    return sum(1 << MODALITIES.index(modality) for modality in set(given))


def _engine(where: str, device: Device, spec: NearSpec) -> tuple[str, ComputeEngine]:
    name = spec.engine or device.default_engine
    if name not in device.engines:
        raise UserError(
            f"{where}.engine: {device.name} has no such engine", got=name, next_step=did_you_mean(name, device.engines)
        )
    return name, device.engines[name]


def _precision(where: str, device: Device, engine: ComputeEngine, spec: NearSpec) -> Dtype:
    if spec.precision is None:
        return next(iter(engine.decode))
    if spec.precision not in engine.decode:
        raise UserError(
            f"{where}.precision: the {engine.kind} of {device.name} does not run it",
            got=spec.precision,
            allowed=", ".join(engine.decode),
        )
    return spec.precision


def _weight_bytes(model: Model, precision: Dtype, head_bytes: float) -> float:
    """Layers at the precision, the head and the embedding table as the engine stores the head."""
    tables = model.head_params + (0 if model.tied_embeddings else model.embedding_params)
    return (model.attention_params + model.ffn_params) * BYTES_PER_VALUE[precision] + tables * head_bytes


def _chunk_s(model: Model, engine: ComputeEngine) -> float:
    """Seconds of a chunk, with its even share of what a typical prompt costs beside its chunks."""
    prefill = engine.prefill
    chunk = engine.prefill_s(model.active_layer_params, prefill.chunk_tokens)
    if not _uneven(prefill):
        return chunk
    bare = prefill.model_copy(update={"prompt_ms": 0.0, "attention_ns": 0.0})
    beside = prompt_s(model, prefill, _TYPICAL_PROMPT) - prompt_s(model, bare, _TYPICAL_PROMPT)
    return chunk + beside * prefill.chunk_tokens / _TYPICAL_PROMPT


def _uneven(prefill: Prefill) -> bool:
    return prefill.prompt_ms > 0.0 or prefill.attention_ns > 0.0


def _measured_s(model: Model, rate: Decode) -> float:
    """Seconds of a token that only a measured device states: every layer's, and attention inside full windows."""
    sliding = model.attention.sliding
    positions = sliding.layers * sliding.window_tokens * model.attention.query_heads if sliding else 0
    return rate.layer_ms * model.layers * 1e-3 + positions * rate.attention_ns * 1e-9


def _prompt_assumed(device: Device, engine: ComputeEngine) -> tuple[str, ...]:
    note = f"{device.name}: in a fleet every prompt token costs as much as in a prompt of {_TYPICAL_PROMPT} tokens"
    return (note,) if _uneven(engine.prefill) else ()


def _window_bytes(model: Model) -> float:
    """Cache of the sliding-window layers when their windows are full."""
    sliding = model.attention.sliding
    return model.kv_values_per_token_sliding * sliding.window_tokens * CACHE_BYTES if sliding else 0.0


def _max_tokens(where: str, device: Device, models: Sequence[Model], weights: float) -> int:
    """Tokens whose cache fits beside the weights, and that the models were made for."""
    allowed = device.model_memory_bytes
    left = allowed - weights - sum(_window_bytes(one) for one in models)
    per_token = sum(one.kv_values_per_token_full for one in models) * CACHE_BYTES
    context = min(one.max_context_tokens for one in models)
    tokens = context if per_token == 0.0 and left >= 0.0 else min(context, int(left // max(per_token, 1.0)))
    if tokens < 1:
        names = " and ".join(one.name for one in models)
        raise UserError(
            f"{where}: {names} does not fit on {device.name}: weights {weights / _GIB:.2f} GiB",
            allowed=f"{allowed / _GIB:.2f} GiB, caches included",
            next_step="take a smaller model or a lower precision, or near: null",
        )
    return tokens


def _assumed(model: Model, technique: Technique | None, draft: Model | None) -> tuple[str, ...]:
    notes = []
    if model.attention.sliding:
        notes.append(f"{model.name} on a device: sliding-window layers read a full window for every token")
    if model.vision:
        notes.append(f"{model.name} on a device: an image costs its tokens; its encoder takes no time")
    if technique:
        notes.append(
            f"technique {technique.name}: speeds decoding up {technique.speedup:.2f} times whatever is asked "
            f"({technique.tokens_per_step:.2f} tokens a step at {technique.verify_cost + technique.draft_cost:.2f} "
            "times the time)"
        )
    if draft:
        notes.append(f"draft model {draft.name}: its time is the technique's draft_cost; it reads no prompts")
    return tuple(notes)
