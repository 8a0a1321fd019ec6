"""What a quantisation's name says: bits of a stored weight, scales included.

    quantisation("w4a16").weight_bits          4.0, and 8.0 for the head
    quantisation("Q4_K_M").weight_bits         4.85

Sources: the block layouts of llama.cpp (ggml-common.h), MLC-LLM's q3f16_1, NVIDIA's NVFP4 (16 weights share an 8-bit
scale), Qualcomm AI Hub Models (layers in 4 bits, the head in 8), AWQ and GPTQ groups of 128.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Quantisation", "quantisation"]

_GGUF = {
    "q2_k": 2.63, "q3_k_s": 3.44, "q3_k_m": 3.91, "q3_k_l": 4.27, "q3_k": 3.91, "q4_0": 4.5, "q4_1": 5.0,
    "q4_k_s": 4.58, "q4_k_m": 4.85, "q4_k": 4.85, "q5_0": 5.5, "q5_1": 6.0, "q5_k_s": 5.54, "q5_k_m": 5.69,
    "q5_k": 5.69, "q6_k": 6.56, "q8_0": 8.5, "iq1_s": 1.56, "iq2_xxs": 2.06, "iq2_xs": 2.31, "iq3_xxs": 3.06,
    "iq3_s": 3.44, "iq4_xs": 4.25, "iq4_nl": 4.5, "tq1_0": 1.69, "tq2_0": 2.06, "mxfp4": 4.25, "q3f16_1": 3.4,
    "q4f16_1": 4.5, "q4f32_1": 4.5, "nvfp4": 4.5,
}  # fmt: skip
_GGUF_HEAD_BITS = 6.56  # llama.cpp keeps the output matrix of its 4-bit files in q6_k
_HEAD_BITS = 8.0  # others keep it in 8 bits when the layers have fewer
_GROUP_SCALE_BITS = 16.0  # one 16-bit scale per group of weights


@dataclass(frozen=True, slots=True)
class Quantisation:
    """A format of stored weights."""

    name: str
    """In one spelling for all that mean the same, such as `w4a16-g128`."""
    weight_bits: float
    """Of one weight of the layers, scales included."""
    head_bits: float
    """Of one weight of the output head."""
    assumed: str = ""
    """What had to be assumed, in words; empty when the name says it all."""

    @property
    def width(self) -> str:
        """The common width in bits that it is at least: `2`, `3`, `4`, `5`, `6`, `8`, `16` or `32`."""
        return next((one for one in ("32", "16", "8", "6", "5", "4", "3") if float(one) <= self.weight_bits), "2")


def quantisation(text: str, *, params_b: float | None = None) -> Quantisation | None:
    """What a table's cell says; None when it names no format (`mixed`).

    A size of the file (`6.1GB`) divided by `params_b` (1e9 parameters) stands for a width, too.
    """
    word = re.sub(r"\(.*?\)", " ", text.lower()).strip()
    for known, bits in _GGUF.items():
        if re.search(rf"(?<![a-z0-9]){known}(?![a-z0-9])", word):
            return Quantisation(known, bits, max(bits, _GGUF_HEAD_BITS))
    if found := re.search(r"(\d+(?:\.\d+)?) ?gb\b", word):
        if not params_b:
            return None
        bits = float(found[1]) * 8.0 / params_b
        return Quantisation("file", bits, bits, f"weights of {bits:.1f} bits: the size of the file over all parameters")
    return _by_width(word)


def _by_width(word: str) -> Quantisation | None:
    """Names that tell the bits of the weights, of the activations, and the size of a group."""
    if "low-bit" in word:
        return Quantisation("w4", 4.0, _HEAD_BITS, "`low-bit` weights have 4 bits")
    bits, activations = _bits(word)
    if bits is None:
        return None
    group = re.search(r"(?:g|b|block|group) ?[-_]?(\d{2,3})\b", word)
    scale = _GROUP_SCALE_BITS / float(group[1]) if group else 0.0
    if group is None and re.search(r"gptq|awq", word):
        scale = _GROUP_SCALE_BITS / 128.0
    name = f"w{bits:g}" + (f"a{activations}" if activations else "") + (f"-g{group[1]}" if group else "")
    return Quantisation(name, max(bits, 2.0) + scale, bits if bits >= _HEAD_BITS else _HEAD_BITS)


def _bits(word: str) -> tuple[float | None, str]:
    """Bits of the weights and of the activations (as text, empty when not told)."""
    if found := re.search(r"\bw(\d+)a(\d+)", word):
        return float(found[1]), found[2]
    if found := re.search(r"\b(\d+)w(\d+)a\b", word):
        return float(found[1]), found[2]
    if found := re.search(r"\b(\d+)a(\d+)w\b", word):
        return float(found[2]), found[1]
    if re.search(r"\b(fp|bf|float|f)16\b|\bhalf\b", word):
        return 16.0, ""
    if re.search(r"\b(fp|float|f)32\b", word):
        return 32.0, ""
    if found := re.search(r"dynamic[_ ]int(\d+)", word):
        return float(found[1]), ""
    patterns = (r"\bu?int ?-?(\d+)", r"\bfp(\d+)\b", r"\b(\d+(?:\.\d+)?)[- ]?b(?:it)?\b", r"\b[wq](\d+)\b")
    found = next((hit for pattern in patterns if (hit := re.search(pattern, word))), None)
    return (float(found[1]) if found else None), ""
