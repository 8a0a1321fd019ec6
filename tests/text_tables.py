"""Made-up tables: sums that the near target gets wrong, capitals that both know, talk that near knows best."""

from __future__ import annotations

import csv
import io

import numpy as np

from policies.text.tables import PromptTable

CITIES = [
    "Rome",
    "Paris",
    "Berlin",
    "Madrid",
    "Lisbon",
    "Vienna",
    "Prague",
    "Athens",
    "Dublin",
    "Oslo",
    "Helsinki",
    "Warsaw",
    "Cairo",
    "Lima",
    "Quito",
]
CHINESE = ["北京", "上海", "广州", "深圳", "成都", "杭州", "南京", "武汉", "西安", "重庆"]
WORDS = [
    "river",
    "tree",
    "stone",
    "light",
    "garden",
    "winter",
    "paper",
    "music",
    "window",
    "bridge",
    "candle",
    "engine",
    "harbour",
    "letter",
    "mirror",
]
RIGHT = {"sums": (0.15, 0.9), "capitals": (0.9, 0.92), "talk": (0.8, 0.6), "chinese": (0.3, 0.85)}


def prompt(random: np.random.Generator, task: str) -> str:
    """One prompt of a task; numbers and words make it its own."""
    a, b = random.integers(10, 9999, 2)
    words = " ".join(random.choice(WORDS, 4))
    if task == "sums":
        return f"What is {a} plus {b}?\nA. {a + b}\nB. {a - b}\nC. {a * b}\nAnswer:"
    if task == "capitals":
        return f"Which country has {random.choice(CITIES)} as its capital, near {words}?"
    if task == "talk":
        return f"tell me a short story about {words} and number {a}"
    return f"请问{random.choice(CHINESE)}在哪里？编号{a}，{random.choice(CHINESE)}呢？"


def made(rows: int, seed: int = 0) -> PromptTable:
    """Columns prompt, task, near, far, chars (long answers are wrong ones), answer."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[object]] = {name: [] for name in ("prompt", "task", "near", "far", "chars", "answer")}
    for _ in range(rows):
        task = str(random.choice(list(RIGHT)))
        near, far = (bool(random.random() < chance) for chance in RIGHT[task])
        chars = int(random.integers(20, 120) + (0 if near else 60))
        columns["prompt"].append(prompt(random, task))
        columns["task"].append(task)
        columns["near"].append(near)
        columns["far"].append(far)
        columns["chars"].append(chars)
        columns["answer"].append(("I know. " if near else "I'm sorry. ") + "so it is " * (chars // 10))
    return PromptTable("made", rows, columns)


def as_csv(table: PromptTable) -> str:
    """The table as CSV text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(table.columns)
    writer.writerows(zip(*table.columns.values(), strict=True))
    return buffer.getvalue()
