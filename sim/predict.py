"""One deployment, one request shape: latency, energy and memory without queues (`nearfar latency`)."""

from __future__ import annotations

from typing import Any

from profiles.errors import UserError
from sim.deployment import Deployment
from sim.latency import StepTime, step_time
from sim.pool import StepShape

__all__ = ["predict"]


def predict(
    deployment: Deployment,
    *,
    prompt_tokens: int,
    output_tokens: int,
    batch: int = 1,
    context_tokens: int | None = None,
    max_num_batched_tokens: int = 2048,
    gpu_memory_utilization: float = 0.9,
) -> dict[str, Any]:
    """TTFT of a prompt in an idle engine, then decoding with `batch` sequences of `context_tokens` each.

    The context is what a sequence holds when it begins to decode (default: the prompt); TPOT is the mean over its
    `output_tokens`. Times in seconds, energy in joules per request, memory in bytes per accelerator. Raises
    `UserError`.
    """
    context = prompt_tokens if context_tokens is None else context_tokens
    for what, value in (
        ("prompt", prompt_tokens),
        ("output", output_tokens),
        ("batch", batch),
        ("context", context),
        ("max_num_batched_tokens", max_num_batched_tokens),
    ):
        if value < 1:
            raise UserError(f"{what} must be at least 1", got=value)
    limit = deployment.model.max_context_tokens
    longest = max(prompt_tokens, context) + output_tokens
    if longest > limit:
        raise UserError(
            f"prompt or context plus output exceed the context of {deployment.model.name}",
            got=longest,
            allowed=f"<= {limit}",
        )
    prefill = _prefill(deployment, prompt_tokens, max_num_batched_tokens)
    ttft_s = sum(step.seconds for step in prefill)
    decodes = [_decode(deployment, batch, context + ahead) for ahead in _samples(output_tokens)]
    tpot_s = sum(step.seconds for step in decodes) / len(decodes)
    energy_j = sum(step.energy_j for step in prefill)
    energy_j += (output_tokens - 1) * sum(step.energy_j for step in decodes) / len(decodes) / batch
    memory = deployment.memory(max_num_batched_tokens=max_num_batched_tokens)
    held = memory.weights + memory.overhead + memory.activations
    held += batch * ((context + output_tokens) * memory.kv_per_token + memory.fixed_kv_per_sequence)
    return {
        "deployment": deployment.name,
        "engine": deployment.engine.name,
        "ttft_s": ttft_s,
        "tpot_s": tpot_s,
        "prefill_tok_s": prompt_tokens / ttft_s,
        "decode_tok_s": batch / tpot_s,
        "e2e_s": ttft_s + (output_tokens - 1) * tpot_s,
        "energy_j": energy_j,
        "memory_bytes": held,
        "memory_limit_bytes": memory.total * gpu_memory_utilization,
        "fits": held <= memory.total * gpu_memory_utilization,
        "confidence": deployment.confidence,
        "binding": {"prefill": max(prefill, key=lambda step: step.seconds).binding, "decode": decodes[-1].binding},
        "terms_s": {"prefill": _terms(prefill), "decode": _terms(decodes)},
        "assumed": list(deployment.assumed),
    }


def _samples(output_tokens: int) -> list[int]:
    """Up to 33 of the decode steps, evenly spread: the step time is nearly linear in the context."""
    last = max(1, output_tokens - 1)
    count = min(last, 33)
    return [1 + round(k * (last - 1) / max(1, count - 1)) for k in range(count)]


def _prefill(deployment: Deployment, prompt: int, budget: int) -> list[StepTime]:
    window = deployment.window_tokens
    steps = []
    for start in range(0, prompt, budget):
        chunk = min(budget, prompt - start)
        capped = sum(min(start + i, window) for i in range(1, chunk + 1)) if window else 0
        steps.append(
            step_time(
                deployment,
                StepShape(
                    prefill_tokens=chunk,
                    prefill_attended=chunk * start + chunk * (chunk + 1) // 2,
                    prefill_attended_window=capped,
                    prefill_end=start + chunk,
                    prefill_end_window=min(start + chunk, window),
                    decodes=0,
                    decode_context=0,
                    decode_context_window=0,
                    emitting=int(start + chunk == prompt),
                    sequences=1,
                ),
            )
        )
    return steps


def _decode(deployment: Deployment, batch: int, context: int) -> StepTime:
    window = deployment.window_tokens
    return step_time(
        deployment,
        StepShape(
            prefill_tokens=0,
            prefill_attended=0,
            prefill_attended_window=0,
            prefill_end=0,
            prefill_end_window=0,
            decodes=batch,
            decode_context=batch * context,
            decode_context_window=batch * min(context, window),
            emitting=batch,
            sequences=batch,
        ),
    )


def _terms(steps: list[StepTime]) -> dict[str, float]:
    names = ("host_s", "kernels_s", "gemm_s", "attention_s", "head_s", "collectives_s")
    return {name.removesuffix("_s"): sum(getattr(step, name) for step in steps) / len(steps) for name in names}
