"""How long a prompt's score takes.

    python -m benchmarks.text [--model FILE] [--out record.json]

score_300    text to both chances, 300 characters, microseconds: median, 10th and 90th percentile
score_3000   the same for 3,000 characters
load_s       reading the model's file
file_bytes   its size

Without --model one is fitted to made-up prompts with as many words as a table of 7,000 exam questions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.record import emit
from policies.text.fit import fit
from policies.text.model import TextModel, load
from policies.text.tables import PromptTable

ROWS = 2000
WORDS = 20_000
CALLS = 3000


def made_prompt(random: np.random.Generator, characters: int) -> str:
    """Words of a Zipf-like vocabulary up to a length."""
    ranks = np.minimum(random.zipf(1.2, characters // 4), WORDS)
    return " ".join("abcdefghijklmnop"[r % 16] + f"{r:x}"[::-1].translate(_LETTERS) for r in ranks)[:characters]


_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def made_model() -> TextModel:
    """Fitted to prompts whose labels hang on their first letter."""
    random = np.random.default_rng(0)
    prompts = [made_prompt(random, int(random.integers(60, 900))) for _ in range(ROWS)]
    near = [float(random.random() < (0.3 if prompt[0] < "e" else 0.7)) for prompt in prompts]
    far = [float(random.random() < 0.8) for _ in prompts]
    return fit(PromptTable("made", ROWS, {"prompt": prompts, "near": near, "far": far}), "near", "far")


def microseconds(model: TextModel, prompts: Sequence[str]) -> dict[str, float]:
    """Time of single calls, each with a prompt of its own."""
    model.score(prompts[0])
    times = []
    for prompt in prompts:
        begun = time.perf_counter_ns()
        model.score(prompt)
        times.append((time.perf_counter_ns() - begun) / 1000.0)
    low, middle, high = np.percentile(times, [10, 50, 90])
    return {"p10": float(low), "p50": float(middle), "p90": float(high)}


def main() -> None:
    """Run all and print one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.model or Path(folder) / "made.model"
        if args.model is None:
            made_model().save(path)
        begun = time.perf_counter()
        model = load(path)
        load_s = time.perf_counter() - begun
        size = path.stat().st_size
    random = np.random.default_rng(1)
    figures = {
        f"score_{length}_us": microseconds(model, [made_prompt(random, length) for _ in range(CALLS)])
        for length in (300, 3000)
    }
    emit("text", {**figures, "load_s": load_s, "file_bytes": size}, args.out)


if __name__ == "__main__":
    main()
