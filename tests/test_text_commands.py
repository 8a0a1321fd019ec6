"""nearfar quality fit, score, evaluate: files in, files out, and one clear error for bad input."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tests.command import Run
from tests.text_tables import as_csv, made

SIDES = ("--near", "near", "--far", "far")


@pytest.fixture
def folder(nearfar: Run) -> Path:
    """The current folder, with a table and a model fitted on it."""
    Path("a.csv").write_text(as_csv(made(300)), encoding="utf-8")
    Path("b.csv").write_text(as_csv(made(200, seed=1)), encoding="utf-8")
    code, _, err = nearfar("quality", "fit", "a.csv", *SIDES, "--out", "m.model", "--answer-chars", "chars")
    assert code == 0, err
    return Path.cwd()


def scores(path: str) -> list[list[str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_score_needs_nothing_but_prompts(nearfar: Run, folder: Path) -> None:
    prompts = ["What is 1200 plus 34?\nA. 1\nB. 2\nC. 3\nAnswer:", "tell me a short story about river", ""]
    Path("p.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in prompts), encoding="utf-8")
    code, out, _ = nearfar("quality", "score", "m.model", "p.jsonl", "--out", "s.csv", "--json")
    assert code == 0
    rows = scores("s.csv")
    assert rows[0] == ["row", "score"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2"]
    assert float(rows[1][1]) > 0.3 > 0.1 > float(rows[2][1])
    assert "1 prompts are empty" in json.loads(out)["notes"][0]


def test_score_with_the_near_answer_in_view(nearfar: Run, folder: Path) -> None:
    text = "tell me a short story about river"
    Path("p.csv").write_text(f"prompt,chars\n{text},30\n{text},170\n", encoding="utf-8")
    code, _, err = nearfar("quality", "score", "m.model", "p.csv", "--out", "s.csv", "--cascade")
    assert code == 0, err
    short, long = (float(row[1]) for row in scores("s.csv")[1:])
    assert long > short + 0.2


def test_evaluate_tells_every_figure_beside_the_baselines(nearfar: Run, folder: Path) -> None:
    code, out, err = nearfar("quality", "evaluate", "m.model", "b.csv", *SIDES, "--json")
    assert code == 0, err
    result = json.loads(out)
    for block in (result, result["within_category"], result["cascade"]):
        for name in ("apgr", "cpt50", "cpt80", "auc", "brier", "ece"):
            assert block[name]["low"] <= block[name]["value"] <= block[name]["high"] or name == "ece"
    areas = {name: block["apgr"]["value"] for name, block in result["baselines"].items()}
    assert areas["random"] == pytest.approx(0.5)
    assert areas["oracle"] > result["apgr"]["value"] > areas["prompt_length"]
    assert areas["category_mean"] > 0.6
    assert abs(result["within_category"]["apgr"]["value"] - 0.5) < 0.1  # nothing but the category is in these prompts
    assert result["cascade"]["apgr"]["value"] > result["apgr"]["value"]
    assert result["cascade"]["confidence"]["auc"]["value"] > result["auc"]["value"]
    assert result["rows"] == 200
    assert result["rows_fitted_on"] == 0
    assert nearfar("quality", "evaluate", "m.model", "b.csv", *SIDES, "--json")[1] == out


def test_prompts_of_the_fit_are_left_out_and_told(nearfar: Run, folder: Path) -> None:
    Path("c.csv").write_text(as_csv(made(200, seed=1)) + "".join(as_csv(made(20)).splitlines(True)[1:]))
    code, out, _ = nearfar("quality", "evaluate", "m.model", "a.csv", "c.csv", *SIDES)
    assert code == 0
    assert "200 prompts the model was not fitted on" in out
    assert any("the model was fitted on their prompts" in line for line in out.splitlines())
    code, _, err = nearfar("quality", "evaluate", "m.model", "a.csv", *SIDES)
    assert code == 2
    assert "too few rows to evaluate" in err
    assert "fitted on their prompts" in err


def test_every_format_gives_the_same_model(nearfar: Run, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = made(300)
    Path("a.csv.gz").write_bytes(gzip.compress(as_csv(table).encode()))
    pq.write_table(pa.table(table.columns), "a.parquet")
    rows = [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]
    Path("a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    for name in ("a.csv.gz", "a.parquet", "a.jsonl"):
        assert nearfar("quality", "fit", name, *SIDES, "--out", "n.model", "--answer-chars", "chars")[0] == 0
        assert Path("n.model").read_bytes() == Path("m.model").read_bytes(), name


def test_gaps_and_repeated_prompts_are_left_out_and_told(nearfar: Run) -> None:
    lines = as_csv(made(100)).splitlines(keepends=True)
    header, *rows = lines
    extra = ["a prompt,x,,True,10,b\n", ",x,True,True,10,b\n", rows[0], rows[1]]
    Path("a.csv").write_text(header + "".join(rows + extra), encoding="utf-8")
    code, out, _ = nearfar("quality", "fit", "a.csv", *SIDES, "--out", "m.model")
    assert code == 0
    assert "fitted on 100 prompts" in out
    assert "1 rows left out: a gap in a label" in out
    assert "1 rows left out: an empty prompt" in out
    assert "2 rows left out: their prompt stands in an earlier row" in out


def test_scripts_the_model_never_saw_are_told(nearfar: Run, folder: Path) -> None:
    Path("p.csv").write_text("prompt\nΚαλημέρα κόσμε\nhello there\n", encoding="utf-8")
    code, out, _ = nearfar("quality", "score", "m.model", "p.csv", "--out", "s.csv")
    assert code == 0
    assert "1 of 2 prompts have letters of scripts the model never saw (GREEK)" in out
    assert len(scores("s.csv")) == 3


BAD = {
    "no-column": ("prompt,near,fat\na,1,0\n", "has no column 'far'; did you mean 'fat'?"),
    "no-prompt": ("text,near,far\na,1,0\n", "has no column 'prompt'"),
    "few": ("prompt,near,far\n" + "".join(f"p{i},{i % 2},1\n" for i in range(12)), "too few rows"),
    "constant": ("prompt,near,far\n" + "".join(f"p{i},1,{i % 2}\n" for i in range(99)), "every label of 'near'"),
    "word": ("prompt,near,far\na,maybe,0\n", "row 0, column 'near': bad value; got 'maybe'"),
    "range": ("prompt,near,far\na,1,0\nb,1.5,0\n", "row 1, column 'near': bad value"),
    "empty": ("", "is empty"),
    "ragged": ("prompt,near,far\na,1\n", "row 0: 2 cells, but the header has 3"),
    "twice": ("prompt,near,near,far\na,1,1,0\n", "two columns of one name"),
    "json": ('{"prompt": 1}\n{"prompt"\n', "line 2: not JSON"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_table_is_one_clear_error(nearfar: Run, text: str, message: str) -> None:
    Path("a.csv").write_text(text, encoding="utf-8")
    code, out, err = nearfar("quality", "fit", "a.csv", *SIDES, "--out", "m.model")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("m.model").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "missing.csv", *SIDES, "--out", "n"), "does not exist"),
        (("fit", ".", *SIDES, "--out", "n"), "is a folder"),
        (("fit", "a.csv", "--near", "near", "--far", "near", "--out", "n"), "two columns"),
        (("fit", "a.csv", *SIDES, "--out", "n", "--task", "tusk"), "did you mean 'task'?"),
        (("fit", "a.csv", *SIDES, "--out", "n", "--logprob", "chars"), "column 'chars': bad value"),
        (("fit", "a.csv", *SIDES, "--out", "no/such/n"), "cannot write"),
        (("fit", "m.model", *SIDES, "--out", "n"), "binary file"),
        (("score", "a.csv", "a.csv", "--out", "s"), "no text quality model"),
        (("score", "m.model", "q.csv", "--out", "s", "--cascade"), "no column 'chars'"),
        (("evaluate", "m.model", "b.csv", "--near", "near", "--far", "fur"), "no column 'fur'"),
        (("evaluate", "m.model", "b.csv", *SIDES, "--task", "tosk"), "did you mean 'task'?"),
    ],
)
def test_bad_words_are_one_clear_error(nearfar: Run, folder: Path, words: tuple[str, ...], message: str) -> None:
    Path("q.csv").write_text("prompt\na\n", encoding="utf-8")
    code, out, err = nearfar("quality", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
