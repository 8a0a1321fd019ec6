"""Whether a model can be spread over accelerators as asked: tensor, pipeline, data and expert parallelism."""

from __future__ import annotations

from profiles import Accelerator, Model, UserError

__all__ = ["check_parallel"]

_MOST_TOLD = 64  # tensor_parallel that a message lists


def check_parallel(model: Model, device: Accelerator, *, tensor: int, pipeline: int, data: int, expert: bool) -> None:
    """Raise `UserError` for what the model's shape, or the accelerator's node and link, do not allow."""
    _check_tensor(model, device, tensor)
    if not 1 <= pipeline <= model.layers:
        raise UserError(
            "pipeline_parallel must be between 1 and the layers", got=pipeline, allowed=f"1 to {model.layers}"
        )
    if tensor * pipeline > 1 and device.link.kind == "none":
        raise UserError(f"{device.name} has no link to another one", got=tensor * pipeline, allowed="1 accelerator")
    if expert and data == 1 and (model.ffn.moe is None or tensor == 1):
        raise UserError("expert_parallel needs a mixture of experts and tensor_parallel > 1", got=(model.name, tensor))
    _check_data(model, device, data, expert)


def _check_tensor(model: Model, device: Accelerator, tensor: int) -> None:
    heads = model.attention.query_heads
    if tensor < 1 or heads % tensor:
        raise UserError(
            f"tensor_parallel must divide the {heads} query heads of {model.name}",
            got=tensor,
            allowed=", ".join(str(n) for n in range(1, min(heads, _MOST_TOLD) + 1) if heads % n == 0),
        )
    if tensor > device.gpus_per_node:
        raise UserError(
            f"tensor_parallel exceeds what one node of {device.name} holds",
            got=tensor,
            allowed=f"<= {device.gpus_per_node}",
        )


def _check_data(model: Model, device: Accelerator, data: int, expert: bool) -> None:
    if data < 1:
        raise UserError("data_parallel must be at least 1", got=data)
    if data > 1 and (model.ffn.moe is None or not expert):
        raise UserError(
            "data_parallel above 1 shares experts between ranks: it needs a mixture of experts and expert_parallel",
            got=(model.name, data),
            next_step="ranks that share nothing are replicas: replicas: N",
        )
    if data > 1 and device.link.kind == "none":
        raise UserError(f"{device.name} has no link to another one", got=data, allowed="1 rank")
