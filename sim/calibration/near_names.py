"""Names of tables of measurements, brought into one spelling: runtimes and models.

    runtime_family("torchscript_onnx_qnn (QNN/Genie)", "npu", "qualcomm-sm8750")     "genie"
    asked_model(catalogue, "SmallThinker-21B-A3B (8G limit)", 21.0)                  the model, and the 8 GB

What no pattern knows is told as unknown, never taken for something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from profiles import Catalogue, Model, UserError
from profiles.near_runtime import ANY_FAMILY
from profiles.soc import EngineKind
from sim.calibration.generic_model import generic_model

__all__ = ["NamedModel", "architecture_of", "asked_model", "runtime_family", "series_of", "threads_of"]

# The first that matches; `+` takes the backend of the row with it: llama.cpp-opencl.
_FAMILIES = (
    (r"powerinfer|smallthinker", "smallthinker"),
    (r"t-mac|tmac", "t-mac"),
    (r"genie-ai-runtime", "llama.cpp+"),
    (r"torchscript_onnx_qnn|\bgenie\b|qairt", "genie"),
    (r"qhexrt", "qhexrt"),
    (r"pymllm", "pymllm"),
    (r"mllm", "mllm"),
    (r"executorch.*(qnn|htp)", "executorch-qnn"),
    (r"executorch.*(mtk|neuropilot|mediatek)", "executorch-neuropilot"),
    (r"executorch", "executorch-xnnpack"),
    (r"litert|mediapipe|ai edge", "litert"),
    (r"llama\.?cpp|llama\.rn|ollama|lm ?studio|gguf|koboldcpp|pocketpal", "llama.cpp+"),
    (r"\bmnn\b|mnn-llm", "mnn+"),
    (r"rknn|rkllm", "rkllm"),
    (r"tensorrt|edge-llm", "tensorrt-edge-llm"),
    (r"\bmlc\b|mlc-llm|web-?llm", "mlc"),
    (r"\bmlx\b", "mlx"),
    (r"core ?ml|\bane\b", "coreml"),
    (r"nexa", "nexa"),
    (r"hailo", "hailo"),
    (r"neuropilot|mediatek", "neuropilot"),
    (r"openvino", "openvino"),
    (r"onnx ?runtime|onnxruntime|\bort\b", "onnxruntime"),
    (r"vllm|sglang|transformers|pytorch|exllama", "cuda"),
    (r"\bcuda\b", "cuda"),
)
_BACKENDS = ("opencl", "vulkan", "metal", "cuda", "hexagon", "rocm", "sycl")
_NO_NAME = re.compile(r"\b(instruct|chat|it|base|quantized|text|v0[. ]\d|hf|gguf|preview|ibm|2507|r)\b")


@dataclass(frozen=True, slots=True)
class NamedModel:
    """What the name of a model, and its size, say."""

    model: Model
    memory_limit_gb: float | None = None
    """GB (1e9) that it was allowed, where the name says so: `(8G limit)`."""
    assumed: tuple[str, ...] = ()


def runtime_family(runtime: str, engine: EngineKind, soc: str) -> str:
    """The family of a runtime, its backend included where it has several; `*` for one that nobody knows."""
    word = runtime.lower()
    family = next((name for pattern, name in _FAMILIES if re.search(pattern, word)), ANY_FAMILY)
    return f"{family[:-1]}-{_backend(word, engine, soc)}" if family.endswith("+") else family


def _backend(word: str, engine: EngineKind, soc: str) -> str:
    """The backend that a runtime's name tells, or the usual one of the engine."""
    if engine == "cpu":
        return "cpu"
    told = next((one for one in _BACKENDS if one in word), None)
    if told is not None and not (engine == "npu" and told != "hexagon"):
        return told
    if engine == "npu":
        return "hexagon"
    return "metal" if soc.startswith("apple") else "cuda" if soc.startswith("nvidia") else "opencl"


def threads_of(runtime: str) -> int | None:
    """CPU threads, where a runtime's name tells: `T-MAC (2 threads)`, `CPU 8t`."""
    found = re.search(r"(\d+) ?(?:threads?|t\b)", runtime.lower())
    return int(found[1]) if found else None


def asked_model(catalogue: Catalogue, name: str, params_b: float | None) -> NamedModel | str:
    """The model of a row, or why there is none.

    First the catalogue, without what stands in parentheses and without words such as Instruct; else a generic
    decoder of that size.
    """
    limit = re.search(r"\((\d+(?:\.\d+)?) ?g(?:i?b)? limit\)", name.lower())
    limit_gb = float(limit[1]) if limit else None
    held = (f"{limit_gb:g} GB of memory: what does not fit is read from storage for every token",) if limit_gb else ()
    if (known := _known_model(catalogue, name)) is not None:
        guess = f"the architecture of {known.name} is assumed: {known.source}"
        return NamedModel(known, limit_gb, (guess, *held) if known.confidence == "assumed" else held)
    if params_b is None:
        return f"the model {name!r} is neither in the catalogue nor described by its size"
    active_b = _active_b(name)
    if active_b is not None and active_b >= params_b:
        active_b = None
    shape = f"{params_b:g}e9 parameters" + (f", {active_b:g}e9 of them active" if active_b else "")
    model = generic_model(name, params_b, active_b)
    return NamedModel(model, limit_gb, (f"{name} is not in the catalogue: a generic decoder of {shape}", *held))


def _known_model(catalogue: Catalogue, name: str) -> Model | None:
    """The catalogue's model of a name, in its letters and digits at least."""
    for spelling in _spellings(name):
        try:
            return catalogue.model(spelling)
        except UserError:
            continue
    known = _squashed(catalogue)
    found = next((known[key] for one in _spellings(name) if (key := _squash(one)) in known), None)
    return None if found is None else catalogue.model(found)


def _spellings(name: str) -> tuple[str, ...]:
    """A name as it is, without parentheses, without words that tell no architecture, and with 3 for v3."""
    bare = re.sub(r"\(.*?\)", " ", name).strip()
    short = " ".join(_NO_NAME.sub(" ", re.sub(r"[-_ ]+", " ", bare.lower())).split())
    return tuple(one for one in dict.fromkeys((name, bare, short, re.sub(r"\bv(?=\d)", "", short))) if one)


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().rsplit("/", 1)[-1])


@lru_cache(maxsize=4)
def _squashed(catalogue: Catalogue) -> dict[str, str]:
    """Letters and digits of every model's names -> its name; a name goes before an alias."""
    models = [record for record in catalogue.records("model") if isinstance(record, Model)]
    found: dict[str, str] = {}
    for model in models:
        for alias in model.aliases:
            for spelling in _spellings(alias):
                found.setdefault(_squash(spelling), model.name)
    return found | {_squash(model.name): model.name for model in models}


def _active_b(name: str) -> float | None:
    """1e9 active parameters, where the name tells: `30B-A3B`, `(A570M)`."""
    found = re.search(r"\ba(\d+(?:\.\d+)?)(b|m)\b", name.lower())
    return float(found[1]) * (1.0 if found[2] == "b" else 1e-3) if found else None


def series_of(model: Model) -> str:
    """The first word of a model's name: `qwen3.5`, `llama`."""
    return re.split(r"[-_ ]", model.name.lower())[0]


def architecture_of(model: Model) -> str:
    """What a model is beyond a plain decoder; `dense` for nothing."""
    if model.ffn.moe is not None:
        return "experts"
    if model.recurrent_layers:
        return "recurrent"
    if model.attention.mla is not None:
        return "latent"
    return "dense"
