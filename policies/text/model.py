"""A learned model of prompts as one file, and what it says about a prompt.

    model = load("mmlu.model")
    p_near, p_far = model.score("Which of these ...")
    model.confidence("Which of these ...", AnswerFeatures(chars=812))

The file is a NumPy archive without pickles: a JSON header and arrays. Equal inputs make equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text.answers import AnswerFeatures
from policies.text.confidence import Confidence
from policies.text.features import BITS, LIMIT, TOPICS, code_points
from policies.text.kernels import outputs
from policies.text.layout import DENSE
from profiles.errors import UserError

__all__ = ["HEADS", "VERSION", "TextModel", "fingerprints", "load", "scripts_of"]

KIND = "nearfar text quality"
VERSION = 1
HEADS = 3  # near, far, log of the length of near answers
_SCRIPT_LETTERS = 400
_OF_A_SCRIPT = {
    "LETTER",
    "CHARACTER",
    "SYLLABLE",
    "UNIFIED",
    "COMPATIBILITY",
}  # second words of Unicode's names of letters
_NO_SCRIPT = {"MODIFIER", "FULLWIDTH", "HALFWIDTH"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TextModel:
    """Weights and what they were learned from. `arrays` are those of the file; `header` holds names and figures."""

    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    rows: NDArray[np.int32]
    table: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    learned_confidence: Confidence | None

    @classmethod
    def of(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> TextModel:
        """Make ready for scoring."""
        rows = np.full(1 << int(header["bits"]), -1, np.int32)
        rows[arrays["known"]] = np.arange(len(arrays["known"]), dtype=np.int32)
        table = np.hstack([arrays["topics"].astype(np.float32), arrays["word_heads"]])
        second = None
        if header["answer_figures"]:
            second = Confidence(
                header["answer_figures"],
                arrays["answer_center"],
                arrays["answer_scale"],
                arrays["answer_weights"],
            )
        landmarks = np.ascontiguousarray(arrays["landmarks"].T)
        return cls(dict(header), dict(arrays), rows, np.ascontiguousarray(table), landmarks, second)

    @property
    def near(self) -> str:
        """Name of the near target: the column it was learned from."""
        return str(self.header["near"])

    @property
    def far(self) -> str:
        """Name of the far target."""
        return str(self.header["far"])

    @property
    def answer_figures(self) -> tuple[str, ...]:
        """Figures of near answers that the second stage was learned from; empty without one."""
        return tuple(self.header["answer_figures"])

    def heads(self, prompt: str) -> tuple[Floats, float]:
        """The heads (near, far, log of the answer's length), not yet chances; share of the text's features known."""
        found = np.empty(HEADS)
        arrays = self.arrays
        share = outputs(
            code_points(prompt),
            self.header["bits"],
            self.rows,
            arrays["idf"],
            self.table,
            arrays["center"],
            arrays["stretch"],
            self.landmarks,
            arrays["landmark_heads"],
            LIMIT,
            found,
        )
        return found + arrays["level"], share

    def score(self, prompt: str) -> tuple[float, float]:
        """Calibrated chances that near and far answer right."""
        return self.chances(self.heads(prompt)[0])

    def chances(self, heads: Floats) -> tuple[float, float]:
        """P(near right) and P(far right) of the heads of one prompt."""
        (near_slope, near_offset), (far_slope, far_offset) = self.arrays["calibration"].tolist()
        return (
            1.0 / (1.0 + math.exp(-near_slope * heads[0] - near_offset)),
            1.0 / (1.0 + math.exp(-far_slope * heads[1] - far_offset)),
        )

    def gap(self, prompt: str) -> float:
        """P(far right) - P(near right): the score to rank by; higher gains more from going far."""
        near, far = self.score(prompt)
        return far - near

    def confidence(self, prompt: str, answer: AnswerFeatures) -> float:
        """Chance that a near answer is right, once it is there. Raises `UserError` without a second stage."""
        if self.learned_confidence is None:
            raise UserError(
                "this model has no second stage", next_step="fit with --answer-chars, --answer or --logprob"
            )
        heads = self.heads(prompt)[0][None, :]
        return float(self.learned_confidence.chance(heads, np.array([answer.row(self.answer_figures)]))[0])

    def seen(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Which prompts the model was fitted on."""
        return np.isin(fingerprints(prompts), self.arrays["fitted_on"])

    def strange_scripts(self, prompt: str) -> set[str]:
        """Scripts of a prompt that hardly any prompt of the fit had."""
        return scripts_of(prompt) - set(self.header["scripts"])

    def to_bytes(self) -> bytes:
        """The file."""
        text = json.dumps(self.header, sort_keys=True, ensure_ascii=True)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
        arrays |= {name: self.arrays[name] for name in sorted(self.arrays)}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(self.to_bytes())
            part.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", next_step="give another path") from None


def load(path: Path | str) -> TextModel:
    """Read a model. Raises `UserError` for files that are none, are damaged, or are of another version."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"the model {path} cannot be read: {error.strerror or error}") from None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        header = None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise UserError(f"{path} is no text quality model", next_step="make one with nearfar quality fit")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} is of another version",
            got=header.get("version"),
            allowed=str(VERSION),
            next_step="fit it again",
        )
    if wrong := _misfit(header, arrays):
        raise UserError(f"{path} is damaged: {wrong} does not fit", next_step="fit it again")
    try:
        return TextModel.of(header, arrays)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _misfit(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """The first entry or array of the wrong shape or type: compiled code reads them without looking."""
    if (header.get("bits"), header.get("topics")) != (BITS, TOPICS):
        return "bits or topics"
    words, landmarks = (len(arrays[name]) if name in arrays else -1 for name in ("known", "landmarks"))
    wanted: dict[str, tuple[tuple[int, ...], type]] = {
        "known": ((words,), np.int32),
        "idf": ((words,), np.float32),
        "topics": ((words, TOPICS), np.float16),
        "word_heads": ((words, HEADS), np.float32),
        "center": ((DENSE,), np.float64),
        "stretch": ((TOPICS + DENSE,), np.float64),
        "landmarks": ((landmarks, TOPICS + DENSE), np.float32),
        "landmark_heads": ((landmarks, HEADS), np.float32),
        "level": ((HEADS,), np.float64),
        "calibration": ((2, 2), np.float64),
    }
    for name, (shape, kind) in wanted.items():
        if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != kind:
            return name
    known = arrays["known"]
    return "known" if words and (known.min() < 0 or known.max() >= 1 << BITS) else None


def fingerprints(prompts: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each prompt, without white space around it: to know it again, not to read it."""
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(text.strip().encode("utf-8", "replace"), digest_size=8).digest(), "little")
            for text in prompts
        ],
        dtype=np.uint64,
    )


def scripts_of(text: str) -> set[str]:
    """Names of the scripts in the first letters of a text, as Unicode has them: LATIN, CJK, ARABIC ..."""
    names = (unicodedata.name(c, "").split() for c in set(text[:_SCRIPT_LETTERS]) if c.isalpha())
    return {
        words[0].split("-")[0] for words in names if _OF_A_SCRIPT & {w.split("-")[0] for w in words[1:]}
    } - _NO_SCRIPT
