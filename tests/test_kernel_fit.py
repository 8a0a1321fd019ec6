"""Fitting an engine's coefficients to kernel timings."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from profiles import Catalogue, UserError
from sim.calibration.kernel_fit import fit_kernels
from sim.calibration.kernel_timings import read_kernels
from sim.deployment import Deployment, deploy
from sim.latency import attention_terms
from sim.pool import StepShape
from sim.rates import rates_of

CATALOGUE = Catalogue()
TRUTH = {
    "gemm_efficiency": 0.7,
    "gemm_half_tokens": 50,
    "weight_read_efficiency": 0.8,
    "kv_read_efficiency": 0.75,
    "prefill_attention_efficiency": 0.4,
    "mixed_attention_efficiency": 0.5,
    "layer_us": 20,
    "layer_per_sequence_us": 0.2,
    "sampler_us": 30,
    "sampler_per_sequence_us": 0.5,
    "activation_traffic_factor": 3.0,
}
ATTENTION_US = 9.0  # of layer_us


def table(path: Path, header: str, rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)


def timed(folder: Path, deployment: Deployment) -> Path:
    """The kernels that a deployment's coefficients give, as a profiler writes them."""
    folder.mkdir()
    rates, layers = rates_of(deployment), deployment.model.layers
    tokens = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048], float)
    gemm = rates.smooth(rates.gemm_compute_s(tokens), rates.gemm_memory_s(tokens)) / layers * 1e6
    small = TRUTH["layer_us"] - ATTENTION_US + rates.small_kernels_s(tokens) / layers * 1e6
    shares = {"qkv_proj": 0.1, "o_proj": 0.2, "gate_up_proj": 0.4, "down_proj": 0.3}
    dense = [(name, n, share * us) for name, share in shares.items() for n, us in zip(tokens, gemm, strict=True)]
    for name, share in {"layernorm": 0.25, "rotary_emb": 0.2, "act_fn": 0.3, "embedding": 9.0}.items():
        dense += [(name, n, share * us) for n, us in zip(tokens, small, strict=True)]
    table(folder / "dense.csv", "layer,tokens,time_us", dense)
    heads = [("lm_head", m, rates.head_s(m) * 1e6 - 5.0) for m in tokens[:9]] + [
        ("sampler", m, 5.0) for m in tokens[:9]
    ]
    table(folder / "per_sequence.csv", "layer,sequences,time_us", heads)
    table(folder / "attention.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", attention(deployment))
    return folder


def attention(deployment: Deployment) -> list[tuple[float, ...]]:
    rates, layers = rates_of(deployment), deployment.model.layers
    rows: list[tuple[float, ...]] = []
    for chunk in (0, 64, 256, 1024, 2048):
        for decodes in (0, 4, 16, 64, 256):
            for context in (256, 512, 1024, 2048):
                shape = StepShape(
                    chunk,
                    chunk * (chunk + 1) // 2,
                    0,
                    chunk,
                    0,
                    decodes,
                    decodes * context,
                    0,
                    0,
                    decodes + (chunk > 0),
                )
                seconds = rates.smooth(*attention_terms(rates, shape))
                seconds += rates.kernels_per_sequence_s * shape.sequences
                if chunk + decodes:
                    rows.append((chunk, 0, decodes, context, ATTENTION_US + seconds / layers * 1e6))
    return rows


def truth() -> Deployment:
    changes = {f"engine.{name}": value for name, value in TRUTH.items()}
    return deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", changes=changes)


def test_known_coefficients_are_found_again(tmp_path: Path) -> None:
    timings = read_kernels(timed(tmp_path / "kernels", truth()))
    start = deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", changes={"engine.smooth_exponent": 2.5})
    fit = fit_kernels(timings, start)
    assert set(fit.values) == set(TRUTH)
    expected = TRUTH | {"kv_read_efficiency": TRUTH["kv_read_efficiency"] * 0.95}  # contexts of real batches differ
    for name, value in expected.items():
        assert fit.values[name] == pytest.approx(value, rel=0.05), name
    assert all(error.mean_absolute < 0.01 for error in fit.errors.values())
    assert yaml.safe_load(fit.record_text()) == pytest.approx(fit.values)
    assert fit.record_text().startswith("# gemm: 0.")


def test_a_slow_kernel_hardly_moves_the_fit(tmp_path: Path) -> None:
    folder = timed(tmp_path / "kernels", truth())
    text = (folder / "dense.csv").read_text(encoding="utf-8").splitlines()
    slow = [i for i, line in enumerate(text) if line.startswith("gate_up_proj,256")]
    name, tokens, micros = text[slow[0]].split(",")
    text[slow[0]] = f"{name},{tokens},{10 * float(micros)}"
    (folder / "dense.csv").write_text("\n".join(text), encoding="utf-8")
    fit = fit_kernels(read_kernels(folder), truth())
    assert fit.values["gemm_efficiency"] == pytest.approx(TRUTH["gemm_efficiency"], rel=0.02)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("dense.csv", "layer,tokens", "kernel,tokens", r"lacks columns; got \['layer'\]"),
        ("dense.csv", "o_proj,8.0", "o_proj,9.0", "must time every kernel at the same tokens"),
        ("per_sequence.csv", "sampler,1.0,5.0", "sampler,1.0,-5.0", "a size or a time must be a number >= 0"),
        ("attention.csv", "0,0,4,256", "0,0,many,256", "line 2: a size or a time must be a number >= 0; got 'many'"),
    ],
)
def test_bad_timings_are_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    folder = timed(tmp_path / "kernels", truth())
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_kernels(folder)
    with pytest.raises(UserError, match="give a folder of kernel timings"):
        read_kernels(tmp_path)


@pytest.mark.parametrize(
    ("name", "accelerator"), [("RTX4090_Llama-3.1-8B", "rtx-4090"), ("RTXPRO6000_Llama-3.1-8B", "rtx-pro-6000")]
)
def test_the_shipped_records_are_what_the_fit_gives(shared: Path, name: str, accelerator: str) -> None:
    folder = shared / "vllm_runs" / name / "kernels"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    deployment = deploy(CATALOGUE, model="llama-3.1-8b", accelerator=accelerator)
    fit = fit_kernels(read_kernels(folder), deployment)
    for field, value in fit.values.items():
        assert getattr(deployment.engine, field) == pytest.approx(value, rel=0.03, abs=0.01), field
    limits = {"gemm": 0.03, "small kernels": 0.01, "head and sampler": 0.03, "attention of decodes": 0.02}
    for term, most in (limits | {"attention of mixed steps": 0.03}).items():
        assert fit.errors[term].mean_absolute < most, term
        assert abs(fit.errors[term].mean) < 0.01, term
