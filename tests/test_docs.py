"""Every fenced block of README.md and docs/ runs, or is of a kind that cannot.

| block | what happens |
|---|---|
| python | executed, in one namespace a page |
| output | what the python block before it prints |
| console | each `$ command` runs; the lines below it are its output; `# exit code N` when that is not 0 |
| bash | as console, without output; what sets up an environment (venv, pip) is left to the project's own checks |
| yaml | loads as a scenario, as a change of one, as a policy, or as a profile |
| json, csv, jsonl | must be readable |
| text, mermaid | prose |

A page runs in a folder of its own that holds a copy of examples/ and a small stand-in for the public Azure trace, under
its name. `yaml file=my.yaml` writes the block there first.

Shown output is compared line by line, in order, without gaps: `...` in a line stands for any text, a line of `...` for
any lines. Runs of spaces are one space; numbers may be 10 % off, so that a better fact does not stale every page.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import cli
from policies.policy import load_policy
from profiles import KINDS, Catalogue
from sim.loading import load, template
from sim.run import prepare, run
from sim.scenario import FleetScenario, PoolScenario

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PROSE = ("text", "mermaid")
FEW = 1_000
TOLERANCE = 0.1

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
ELLIPSIS = "..."


class Block(NamedTuple):
    """A fenced block: its kind, the file that it is written to, its text, its line in the page."""

    kind: str
    file: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        kind, _, rest = match["info"].strip().partition(" ")
        file = rest.removeprefix("file=") if rest.startswith("file=") else None
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        found.append(Block(kind, file, body, text[: match.start()].count("\n") + 1))
    return found


# -- shown output ------------------------------------------------------------------------------------------------------


def same_line(shown: str, real: str) -> bool:
    """Whether a shown line stands for a real one."""
    shown, real = " ".join(shown.split()), " ".join(real.split())
    parts = [NUMBER.split(part) for part in shown.split(ELLIPSIS)]
    wanted = [number for part in shown.split(ELLIPSIS) for number in NUMBER.findall(part)]
    number = f"({NUMBER.pattern})"
    pattern = "(?:.*)".join(number.join(re.escape(word) for word in words) for words in parts)
    match = re.fullmatch(pattern, real)
    if match is None:
        return False
    return all(close(mine, theirs) for mine, theirs in zip(wanted, match.groups(), strict=True))


def close(shown: str, real: str) -> bool:
    mine, theirs = (float(text.replace(",", "")) for text in (shown, real))
    return abs(mine - theirs) <= TOLERANCE * max(abs(mine), abs(theirs))


def difference(shown: list[str], real: list[str]) -> str | None:
    """The first shown line that has no counterpart, or None."""
    lines = [line for line in real if line.strip()]
    at, free = 0, False
    for line in (line for line in shown if line.strip()):
        if line.strip() == ELLIPSIS:
            free = True
            continue
        places = range(at, len(lines)) if free else range(at, min(at + 1, len(lines)))
        place = next((k for k in places if same_line(line, lines[k])), None)
        if place is None:
            return f"shown: {line}\nreal output from there:\n" + "\n".join(lines[at : at + 12])
        at, free = place + 1, False
    return None if free or at == len(lines) else "not shown: " + "\n".join(lines[at:])


# -- running -----------------------------------------------------------------------------------------------------------


class Page:
    """One page while it runs: its folder, its names, what its last python block printed."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed: str | None = None
        self._monkeypatch = monkeypatch

    def run(self, block: Block) -> None:
        try:
            if block.file is not None:
                target = Path(block.file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            getattr(self, f"_{block.kind}", self._unknown)(block)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{self.path.relative_to(ROOT)}, line {block.line}: {type(error).__name__}: {error}")

    def _unknown(self, block: Block) -> None:
        assert block.kind in PROSE, f"a block of kind {block.kind!r}: give it one that this test knows"

    def _python(self, block: Block) -> None:
        if block.file is not None:
            compile(block.text, block.file, "exec")  # a command or a later block imports it
            return
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block.text, f"{self.path.name}:{block.line}", "exec"), self.names)
        self.printed = out.getvalue()

    def _output(self, block: Block) -> None:
        assert self.printed is not None, "no python block before it"
        assert not (found := difference(block.text.splitlines(), self.printed.splitlines())), found

    def _console(self, block: Block) -> None:
        for command, code, shown in commands(block.text):
            self._command(command, code, shown)

    def _bash(self, block: Block) -> None:
        if re.search(r"\bpip\b|\bvenv\b(?!/bin/nearfar)", block.text):
            return
        for command in block.text.replace("\\\n", " ").splitlines():
            if command.strip() and not command.startswith("#"):
                self._command(command, 0, None)

    def _command(self, command: str, code: int, shown: list[str] | None) -> None:
        real_code, output = self._call(command)
        assert real_code == code, f"$ {command}\nexit code {real_code}, not {code}\n{output}"
        if shown:
            assert not (found := difference(shown, output.splitlines())), f"$ {command}\n{found}"

    def _call(self, command: str) -> tuple[int, str]:
        """Exit code, and stdout; stderr when it failed (it also tells progress and the first compilation)."""
        words = shlex.split(command, comments=True)
        if Path(words[0]).name != "nearfar" or any(word in ("|", ">", "&&", ";") for word in words):
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = os.environ | {"PATH": path}
            done = subprocess.run(
                ["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=120, check=False
            )
            return done.returncode, done.stderr if done.returncode else done.stdout
        out, err = io.StringIO(), io.StringIO()
        self._monkeypatch.setattr(sys, "argv", ["nearfar", *words[1:]])
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            return code, (err if code else out).getvalue()
        return 0, out.getvalue()

    def _yaml(self, block: Block) -> None:
        data = yaml.safe_load(block.text)
        assert isinstance(data, dict)
        if data.get("kind") in KINDS and "name" in data:
            folder = Path(block.file or "shown/profile.yaml").parent
            if block.file is None:
                folder.mkdir(exist_ok=True)
                (folder / "profile.yaml").write_text(block.text, encoding="utf-8")
            Catalogue(folder).find(data["name"], data["kind"])
        elif "layout" in data:
            load_policy(data)
        elif "extends" in data and block.file is not None:
            load(block.file)
        elif "workload" in data and {"pools", "fleet"} & set(data):
            load(data)
        else:
            known = {*PoolScenario.model_fields, *FleetScenario.model_fields}
            assert set(data) <= known, "neither a scenario, nor a part of one, nor a profile"
            load({**yaml.safe_load(template()), **data})

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _jsonl(self, block: Block) -> None:
        for line in block.text.splitlines():
            json.loads(line)

    def _csv(self, block: Block) -> None:
        assert len(list(csv.reader(block.text.splitlines()))) > 1


def commands(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """The commands of a console block: command, expected exit code, shown output."""
    command, code, shown = "", 0, list[str]()
    lines = text.replace("\\\n", " ").splitlines()
    assert lines[0].startswith("$ "), "a console block begins with `$ command`"
    for line in lines:
        if line.startswith("$ "):
            if command:
                yield command, code, shown
            command, code, shown = line[2:], 0, []
        elif match := re.fullmatch(r"# exit code (\d+)", line.strip()):
            code = int(match[1])
        else:
            shown.append(line)
    yield command, code, shown


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of examples/ and a short Azure-like trace; the current one."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    rows = [f"2023-11-16 18:{15 + k // 60}:{k % 60:02}.{k:04}000,{300 + 7 * k},{40 + k}" for k in range(120)]
    text = "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n"
    (tmp_path / "AzureLLMInferenceTrace_conv.csv").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_page_runs(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(path, monkeypatch)
    for block in blocks(path):
        page.run(block)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_fences_close_and_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *```", text, flags=re.MULTILINE)) == 2 * len(blocks(path))
    for block in blocks(path):
        if block.file is not None:
            assert f"`{block.file}`" in text, f"a reader cannot see that {block.file} is written"
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", FENCE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_every_page_is_on_the_map() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "index.md" or f"({name})" in text, f"docs/index.md does not lead to {name}"


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_reference_knows_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `nearfar (.*?)`\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert set(sections) >= {"simulate", "compare", "latency", "init", "check", "profiles list"}
    for command, section in sections.items():
        monkeypatch.setattr(sys, "argv", ["nearfar", *command.split(), "--help"])
        with pytest.raises(SystemExit):
            cli.main()
        shown = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
        assert shown == set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section.split("| --- |", 1)[1])) - {"--help"}, (
            command
        )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path: Path) -> None:
    outcome = run(prepare(load(path), requests=FEW))
    assert len(outcome.plane.requests) == FEW


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ("OK  10.3 % of the slots", "OK 10.4 % of the slots", True),
        ("OK  10.3 % of the slots", "OK 12.4 % of the slots", False),
        ("OK ... slots", "OK 12.4 % of the slots", True),
        ("OK", "OK, nearly", False),
        ("requests 1,000 = 1,000 completed", "requests 1,000 = 990 completed", True),
        ("-3.5 x", "-3.6 x", True),
        ("h100", "h200", False),
        ("simulated in ...", "simulated in 5.1 ms, 967,000 requests/s", True),
    ],
)
def test_how_lines_are_compared(shown: str, real: str, same: bool) -> None:
    assert same_line(shown, real) is same


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ("a\nb\nc", True),
        ("a\n...", True),
        ("...\nc", True),
        ("a\n...\nc", True),
        ("a\nc", False),
        ("a\nb", False),
        ("b\n...", False),
    ],
)
def test_nothing_is_left_out_in_silence(shown: str, same: bool) -> None:
    assert (difference(shown.splitlines(), ["a", "", "b", "c"]) is None) is same
