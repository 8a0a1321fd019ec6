"""A fleet that is small enough to be tuned in tests: one pool of a few slots, in front of which it gets crowded."""

from __future__ import annotations

from typing import Any

from sim.loading import LoadedScenario, load

TASKS = ("text-prediction", "chat", "translation", "code")
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "fleet": {
        "devices": 200,
        "tasks": list(TASKS),
        "groups": {
            "phones": {
                "device": "snapdragon-8-elite-phone",
                "share": 0.8,
                "near": {"model": "milm2-4b", "precision": "int4"},
                "networks": {"wifi-home": 0.6, "lte": 0.4},
                "hub_share": 0.3,
                "tasks": {"text-prediction": 2, "chat": 4, "translation": 1, "code": 1},
            },
            "watches": {
                "device": "watch",
                "share": 0.2,
                "networks": {"wifi-home": 0.6, "lte": 0.4},
                "tasks": {"chat": 3, "translation": 3},
            },
        },
        "hubs": {"device": "home-hub", "near": {"model": "qwen3-8b", "precision": "int4"}},
    },
    "pools": {
        "cloud": {
            "replicas": 1,
            "synthetic": {"step_s": 0.03, "per_sequence_s": 0.004, "per_token_s": 0.0002},
            "ability": {"default": 2.5},
            "price_usd_per_hour": 6,
            "engine": {"max_num_seqs": 6, "kv_blocks": 4000, "max_model_len": 16000},
            "telemetry_lag_s": 2.0,
        }
    },
    "workload": {"requests": 400, "duration_s": 600},
}
UTILITY = "quality=1,e2e_s=-0.02,cost_usd=-10"


def tiny(**changes: Any) -> LoadedScenario:
    """`changes` by dotted paths, with `__` for the dots."""
    return load(TINY, changes={name.replace("__", "."): value for name, value in changes.items()})
