"""`nearfar tune` from end to end: its result, its file, what it picks up again, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import sim.tuning.search
import sim.tuning.tune as tuning
from policies.layout import KINDS
from policies.policy import builtin_names, load_policy
from sim.loading import built_in
from sim.tuning.arena import Arena, Case
from sim.tuning.journal import Journal
from tests.command import Run
from tests.tuned import TINY, UTILITY

WORDS = ("tune", "tiny.yaml", "--utility", UTILITY, "--out", "mine.yaml", "--budget", "20")


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed of training, three of validation; eight judge."""
    monkeypatch.setattr(tuning, "_TRAINED", 1)
    monkeypatch.setattr(tuning, "_JUDGED", 1)


@pytest.fixture
def few_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all ten."""
    monkeypatch.setattr(sim.tuning.search, "builtin_names", lambda: ("near", "scene-table", "threshold"))


def scenario(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """Written there, beside what it `extends`."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(TINY | {"name": name} | changes), encoding="utf-8")
    return path


def one_object(out: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(out)  # nothing before it, nothing behind it
    return result


# -- from end to end ---------------------------------------------------------------------------------------------------


def test_tune_then_check_then_simulate(nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    code, out, err = nearfar(*WORDS, "--json", "--budget", "25")
    assert code == 0, err
    result = one_object(out)
    assert set(result) == {
        *("policy", "utility", "best_rule", "gain", "gap", "gap_recovered", "gap_recovered_interval", "scenarios"),
        *("who_gains", "limits", "tuning", "rules", "runs", "privacy_violations", "assumed", "wall_s"),
    }
    utility = result["utility"]
    assert set(utility) == {"learned", "rules", "greedy", "start", "system_clairvoyant", "clairvoyant"}
    assert set(utility["rules"]) == set(result["rules"]) == set(builtin_names())
    gain = result["gain"]
    assert gain["low"] < gain["value"] < gain["high"]
    assert gain["value"] == pytest.approx(utility["learned"] - max(utility["rules"].values()))
    assert result["scenarios"]["tiny"]["gain"] == gain
    assert set(result["who_gains"]["tiny"]) == {"device", "task"}
    assert result["privacy_violations"] == 0
    assert result["runs"] > 300
    assert all(1 <= rule["evaluations"] <= 25 for rule in result["rules"].values())

    how = result["tuning"]
    seeds = {name: set(own) for name, own in how["seeds"].items()}
    assert [len(seeds[name]) for name in ("train", "validation", "judged")] == [1, 3, 8]
    assert len(set.union(*seeds.values())) == 12  # no seed serves twice
    assert (how["budget"], how["utility"], how["loads"], how["free_rules"]) == (25, UTILITY, [1.0], False)
    assert how["evaluations"] <= 25
    assert how["learning_curve"][-1][0] <= how["evaluations"]

    policy = load_policy(tmp_path / "mine.yaml")
    assert policy.name == "mine"
    assert policy.actions == KINDS
    assert policy.tuning == how
    assert "tuned for quality=1" in policy.description
    assert not list(tmp_path.glob("*.journal*"))
    code, out, _ = nearfar("check-policy", "mine.yaml", "--json")
    assert code == 0
    code, out, _ = nearfar("simulate", "tiny.yaml", "--policy", "mine.yaml", "--json")
    assert code == 0
    assert one_object(out)["policy"] == "mine"


@pytest.mark.usefixtures("few_rules")
def test_what_people_read(nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    scenario(tmp_path, "busy", workload={"requests": 500, "duration_s": 600})
    code, out, err = nearfar(*WORDS, "--judge", "tiny.yaml", "--judge", "busy.yaml")
    assert code == 0
    for words in ("mine.yaml   tuned for quality=1", "gain over", "knows the system", "by scenario", "  busy  ",
                  "who gains and who loses in busy", "privacy forbids: 0", "assumed: rules were tuned"):  # fmt: skip
        assert words in out
    assert "tuning in tiny" in err
    assert "judging in tiny, busy" in err


@pytest.mark.usefixtures("few_rules")
def test_judged_elsewhere_at_another_load_without_bounds(nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    scenario(tmp_path, "other", workload={"requests": 200, "duration_s": 600})
    words = ("--judge", "other.yaml", "--load", "0.5,1.5", "--train-seeds", "7,8", "--no-bounds", "--free-rules")
    code, out, err = nearfar(*WORDS, *words, "--json")
    assert code == 0, err
    result = one_object(out)
    assert set(result["utility"]) == {"learned", "rules", "greedy", "start"}
    assert result["gap"] is result["gap_recovered"] is None
    assert set(result["scenarios"]) == set(result["who_gains"]) == {"other at load 0.5", "other at load 1.5"}
    how = result["tuning"]
    assert set(how["scenarios"]) == {"tiny"}
    assert how["loads"] == [0.5, 1.5]
    assert how["seeds"]["train"] == [7, 8]
    assert how["free_rules"] is True
    assert "all of their numbers" in result["assumed"][0]


@pytest.mark.usefixtures("few_rules")
def test_scenarios_of_one_name_are_told_apart(nearfar: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []
    forget = Arena.forget

    def spied(self: Arena, cases: Sequence[Case]) -> None:
        forgotten.append(len(cases))
        forget(self, cases)

    monkeypatch.setattr(Arena, "forget", spied)
    scenario(tmp_path)
    code, out, _ = nearfar(*WORDS, "tiny.yaml", "--no-bounds", "--json")
    assert code == 0
    result = one_object(out)
    assert list(result["scenarios"]) == list(result["who_gains"]) == ["tiny 1", "tiny 2"]
    assert set(result["tuning"]["scenarios"]) == {"tiny 1", "tiny 2"}
    judged = result["tuning"]["seeds"]["judged"]
    assert judged == [*range(30_000, 30_008), *range(30_100, 30_108)]  # the same seed would be the same luck
    assert forgotten == [8, 8, 6, 6]  # by the verdict and by who gains: no memory is kept, nothing is judged twice


@pytest.mark.usefixtures("few_rules")
def test_the_unit_of_a_utility_changes_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = {}
    for factor in (1, 1024):
        words = f"quality={factor},e2e_s={-0.02 * factor!r},cost_usd={-10 * factor}"
        result = tuning.tune(["tiny.yaml"], utility=words, out=f"{factor}.yaml", budget=20, bounds=False)
        table = load_policy(f"{factor}.yaml", folder=tmp_path).table(("chat",))
        found[factor] = (table.weights / factor, table.scene / factor, result["utility"]["learned"] / factor)
    for one, other in zip(found[1], found[1024], strict=True):
        assert one == pytest.approx(other, rel=1e-4)  # as many digits as are written


# -- stopped and begun again -------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As the terminal would."""


class Tuned(NamedTuple):
    """The policy file, the keys of all runs that were made, and what was told."""

    policy: bytes
    made: list[str]
    told: list[str]


def tuned(folder: Path, monkeypatch: pytest.MonkeyPatch, *, die_after: int | None = None) -> Tuned:
    """`die_after` so many runs."""
    made: list[str] = []
    told: list[str] = []
    put = Journal.put

    def spied(self: Journal, key: str, found: dict[str, float]) -> None:
        if die_after is not None and len(made) >= die_after:
            raise Killed
        put(self, key, found)
        made.append(key)

    monkeypatch.setattr(Journal, "put", spied)
    monkeypatch.chdir(folder)
    try:
        tuning.tune(["tiny.yaml"], utility=UTILITY, out="mine.yaml", budget=20, bounds=False, told=told.append)
    except Killed:
        assert not Path("mine.yaml").exists()
        return Tuned(b"", made, told)
    finally:
        monkeypatch.setattr(Journal, "put", put)
    assert not Path("mine.yaml.journal").exists()
    return Tuned(Path("mine.yaml").read_bytes(), made, told)


@pytest.mark.usefixtures("few_rules")
def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
        scenario(folder)
    whole = tuned(folders[0], monkeypatch)
    half = len(set(whole.made)) // 2
    tuned(folders[1], monkeypatch, die_after=half)
    journal = folders[1] / "mine.yaml.journal"
    before = {json.loads(line)[0] for line in journal.read_text().splitlines()}
    assert len(before) >= half - 1
    journal.write_bytes(journal.read_bytes()[:-9])  # the last line was not written to its end
    rest = tuned(folders[1], monkeypatch)
    assert rest.policy == whole.policy
    assert len(before & set(rest.made)) == 1  # that line
    assert before | set(rest.made) == set(whole.made)
    assert f"{len(before) - 1} runs are known from before" in rest.told[0]
    assert whole.told[0] == "tuning in tiny"


@pytest.mark.usefixtures("few_rules")
def test_what_was_tried_in_another_scenario_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario(tmp_path)
    before = tuned(tmp_path, monkeypatch, die_after=30).made
    again = tuned(tmp_path, monkeypatch, die_after=10).made
    scenario(tmp_path, fleet=TINY["fleet"] | {"devices": 201})
    other = tuned(tmp_path, monkeypatch, die_after=30).made
    assert (len(before), len(again), len(other)) == (30, 10, 30)
    assert not set(before) & set(again)
    assert not (set(before) | set(again)) & set(other)


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_rules")
def test_a_limit_that_nothing_keeps(nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    code, out, err = nearfar(*WORDS, "--slo", "ttft_p95_s=0.001", "--no-bounds")
    assert code == 2
    assert out == ""
    assert "no policy was found that keeps ttft_p95_s in tiny" in err
    assert "at best'; allowed: at most 0.001" in err
    assert "allow " in err
    assert "Traceback" not in err
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.usefixtures("few_rules")
def test_a_limit_that_can_be_kept_is_kept(nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    code, out, err = nearfar(*WORDS, "--slo", "e2e_p95_s=25,unanswered=0.01", "--no-bounds", "--json")
    assert code == 0, err
    result = one_object(out)
    assert result["limits"] == result["tuning"]["limits"] == {"e2e_p95_s": 25.0, "unanswered": 0.01}
    policy = load_policy(tmp_path / "mine.yaml")
    assert "e2e_p95_s at most 25" in policy.description


# -- what is refused ---------------------------------------------------------------------------------------------------


def tune(*words: str) -> tuple[str, ...]:
    return ("tune", "tiny.yaml", "--utility", UTILITY, "--out", "mine.yaml", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tune", "tiny.yaml", "--out", "mine.yaml"), "a utility needs a term that counts"),
        (("tune", "tiny.yaml", "--utility", "qualty=1", "--out", "m.yaml"), "did you mean 'quality'"),
        (("tune", "tiny.yaml", "--utility", "quality=1,quality=2", "--out", "m.yaml"), "given twice; got 'quality'"),
        (("tune", "tiny.yaml", "--utility", "quality=nan", "--out", "m.yaml"), "weight of quality: bad value"),
        (("tune", "tiny.yaml", "--utility", "quality=1"), "give --out POLICY.yaml"),
        (tune("--out", "nowhere/mine.yaml"), "no such folder to write to; got 'nowhere'"),
        (tune("--out", "mine.json"), "a policy is written to a YAML file; got 'mine.json'"),
        (tune("--out", "folder.yaml"), "this is a folder"),
        (tune("--out", "tiny.yaml"), "there is a file, and it is no policy; got 'tiny.yaml'"),
        (tune("--out", "words.yaml"), "words.yaml: must hold one mapping"),
        (("tune", "--utility", "quality=1", "--out", "mine.yaml"), "nothing to tune in"),
        (tune("pool.yaml"), "pool.yaml: a routing policy is for a fleet, and this scenario has none"),
        (tune("--judge", "pool.yaml"), "pool.yaml: a routing policy is for a fleet"),
        (tune("absent.yaml"), "no such scenario file; got 'absent.yaml'"),
        (tune("--judge", "absent.yaml"), "no such scenario file; got 'absent.yaml'"),
        (tune("--budget", "3"), "budget: too small to search with; got 3; allowed: 20 or more"),
        (tune("--load", "much"), "--load: bad value; got 'much'"),
        (tune("--load", "0"), "loads: bad value; got [0.0]"),
        (tune("--load", "nan"), "loads: bad value"),
        (tune("--load", ""), "loads: bad value"),
        (tune("--load", "1,1"), "a load is given twice"),
        (tune("--seed", "-1"), "seed: bad value; got -1"),
        (tune("--train-seeds", "one"), "--train-seeds: bad value; got 'one'"),
        (tune("--train-seeds", "1.5"), "--train-seeds: bad value; got '1.5'"),
        (tune("--train-seeds", "-1"), "training seeds: bad value; got '-1'; allowed: 0 to 19999"),
        (tune("--train-seeds", "5,20001,30000"), "training seeds: bad value; got '20001, 30000'; allowed: 0 to 19999"),
        (tune("--train-seeds", "5,5"), "a training seed is given twice"),
        (tune("--slo", "ttft_p95=2"), "did you mean 'ttft_p95_s'"),
        (tune("--slo", "ttft_p95_s=-1"), "limit of ttft_p95_s: bad value; got '-1'"),
        (tune("--set", "fleet.devices"), "--set needs path=value"),
        (tune("--set", "fleet.devises=3"), "devises"),
        (tune("--candidate", "near"), "--candidate means nothing with scenarios"),
        (tune("--baseline", "near"), "--baseline means nothing with scenarios"),
        (tune("--from-log", "log.parquet"), "SCENARIO means nothing with --from-log"),
        (("tune", "--utility", "quality=1", "--from-log", "log.parquet"), "log.parquet"),
        (("tune", "--utility", "quality=1", "--from-log", "log.parquet", "--slo", "x=1"), "--slo means nothing with"),
    ],
)
def test_it_is_told_in_one_line(words: tuple[str, ...], message: str, nearfar: Run, tmp_path: Path) -> None:
    scenario(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "words.yaml").write_text("some words\n", encoding="utf-8")
    (tmp_path / "pool.yaml").write_text("extends: " + str(built_in()) + "\n", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    code, out, err = nearfar(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert sum(line.startswith("nearfar: ") for line in err.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before  # nothing is left behind
