"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.command import Run, exit_code

# The first call of a kernel compiles it: no test fails for being slow.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# For runs that only ask whether a test fails, not on which smallest example.
settings.register_profile("no-shrink", phases=[Phase.explicit, Phase.generate], deadline=None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """A folder of real traces and measurements beside the checkout; tests skip without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture
def nearfar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = exit_code(monkeypatch, *words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def pytest_sessionstart(session: pytest.Session) -> None:
    """With several workers: compile once, before they start, not once in each."""
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        from sim.warm_up import warm_up

        warm_up(controls=True, fleet=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked long, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes long; run with --long"))
