"""Tables of measurements as people write them: which layout it is, what is refused, and what a prediction may see."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles import UserError
from sim.calibration.tables import DEVICE, LAYOUTS, SERVING, Layout, Table, read_table

SERVED = {
    "model": "llama-3.1-8b", "active_b": "8.03", "total_b": "8.03", "precision": "fp8", "gpu": "h100", "n_gpus": "1",
    "parallel": "tp1", "engine": "vllm 0.12.0", "scenario": "serving agg", "isl": "1024", "osl": "128",
    "concurrency_or_batch": "8", "ttft_ms": "120", "tpot_ms": "9.5", "source": "a leaderboard",
}  # fmt: skip
NEAR = {
    "model": "Llama-3.2-3B", "params_b": "3.21", "quantization": "w4a16", "device": "a phone", "soc": "SM8650",
    "runtime": "Genie", "accelerator": "npu", "prompt_len": "128", "context_len": "4096", "prefill_tok_s": "400",
    "decode_tok_s": "15", "ttft_s": "0.32", "source": "a vendor",
}  # fmt: skip
ROWS = {"serving": SERVED, "device": NEAR}


def text(*rows: Mapping[str, str]) -> str:
    columns = list(rows[0])
    lines = [",".join(columns), *(",".join(row[column] for column in columns) for row in rows)]
    return "\n".join(lines) + "\n"


def without(row: Mapping[str, str], *columns: str) -> dict[str, str]:
    return {column: value for column, value in row.items() if column not in columns}


def renamed(row: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    return {new if column == old else column: value for column, value in row.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def read(path: Path, content: str | bytes) -> Table:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def refusal(path: Path, content: str | bytes) -> str:
    with pytest.raises(UserError) as error:
        read(path, content)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# What is read.


def test_the_columns_tell_the_layout(path: Path) -> None:
    assert read(path, text(SERVED)).layout is SERVING
    assert read(path, text(NEAR)).layout is DEVICE


def test_a_row_is_inputs_measured_cells_and_a_source(path: Path) -> None:
    table = read(path, text(SERVED, SERVED | {"ttft_ms": "", "source": ""}))
    assert table.measured == ({"ttft_ms": 120.0, "tpot_ms": 9.5}, {"tpot_ms": 9.5})
    assert table.sources == ("a leaderboard", "")
    assert table.cells == 3
    assert table.inputs[0] == without(SERVED, "ttft_ms", "tpot_ms", "source")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_inputs_hold_nothing_that_was_measured_or_derived(path: Path, layout: Layout) -> None:
    derived = {"output_tok_s_total": "842", "power_w": "650", "itl_p99_ms": "31", "j_per_token": "0.8", "note": "hot"}
    table = read(path, text(ROWS[layout.name] | derived))
    assert set(table.inputs[0]) == set(layout.inputs)
    assert not set(table.inputs[0]) & {*layout.measured, *derived, "source"}


def test_the_order_of_columns_does_not_matter(path: Path) -> None:
    assert read(path, text(SERVED)) == read(path, text(dict(reversed(SERVED.items()))))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + text(SERVED),
        text(SERVED).replace("\n", "\r\n"),
        "\n\n" + text(SERVED) + "\n\n",
        text({f" {column} ": f" {value} " for column, value in SERVED.items()}),
        text({column: f'"{value}"' for column, value in SERVED.items()}),
        text(SERVED).rstrip("\n"),
    ],
    ids=["byte-order mark", "Windows lines", "blank lines", "padded cells", "quoted cells", "no last newline"],
)
def test_spellings_of_the_same_table(path: Path, content: str) -> None:
    table = read(path, content)
    assert table.inputs == (without(SERVED, "ttft_ms", "tpot_ms", "source"),)
    assert table.measured == ({"ttft_ms": 120.0, "tpot_ms": 9.5},)


@pytest.mark.parametrize("blank", ["", " ", "nan", "NaN", "NA", "n/a", "None", "null", "-"])
def test_blank_cells_are_not_measured(path: Path, blank: str) -> None:
    assert read(path, text(SERVED | {"ttft_ms": blank})).measured == ({"tpot_ms": 9.5},)


def test_rows_without_a_measurement_keep_their_place(path: Path) -> None:
    bare = SERVED | {"ttft_ms": "", "tpot_ms": ""}
    assert [bool(row) for row in read(path, text(bare, SERVED, bare)).measured] == [False, True, False]


@pytest.mark.parametrize("column", ["ttft_ms", "tpot_ms"])
def test_one_measured_column_is_enough(path: Path, column: str) -> None:
    assert set(read(path, text(without(SERVED, column))).measured[0]) == {"ttft_ms", "tpot_ms"} - {column}


@pytest.mark.parametrize("column", DEVICE.measured)
def test_one_measured_column_of_a_device_is_enough(path: Path, column: str) -> None:
    others = set(DEVICE.measured) - {column}
    assert read(path, text(without(NEAR, *others))).measured == ({column: float(NEAR[column])},)


def test_percentiles_beside_or_without_their_mean_are_no_other_unit(path: Path) -> None:
    assert read(path, text(SERVED | {"ttft_p99_s": "3", "tpot_s": "0.0095"})).cells == 2
    assert read(path, text(renamed(SERVED, "ttft_ms", "ttft_p99_ms"))).measured == ({"tpot_ms": 9.5},)


# Files that are no table.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (text(SERVED).splitlines()[0].encode(), "holds no rows"),
        (gzip.compress(text(SERVED).encode()), "plain text in UTF-8"),
        (text(SERVED).encode("utf-16"), "plain text in UTF-8"),
        (text(SERVED | {"model": "llämä"}).encode("latin-1"), "plain text in UTF-8"),
        (text(SERVED | {"source": "x" * 200_000}).encode(), "field larger than field limit"),
        (text(SERVED | {"source": '"unfinished'}, SERVED).encode(), "unexpected end of data"),
        (text(SERVED).replace(",", ";").encode(), "no known layout"),
        (b"# a comment\n" + text(SERVED).encode(), "no known layout"),
        (b"{}", "no known layout"),
        (bytes(range(128)), "no known layout"),
    ],
)
def test_a_file_that_is_no_table_is_refused(path: Path, content: bytes, words: str) -> None:
    assert words in refusal(path, content)


def test_a_folder_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    for missing, words in ((tmp_path, "directory"), (tmp_path / "nowhere.csv", "No such file")):
        with pytest.raises(UserError, match=words):
            read_table(missing)


@pytest.mark.parametrize("line", ["a,b", text(SERVED).splitlines()[1] + ",3"])
def test_a_ragged_row_is_named(path: Path, line: str) -> None:
    told = refusal(path, text(SERVED) + line + "\n")
    assert "row 1: not as many cells as columns" in told
    assert "allowed: 15" in told


def test_a_table_that_measures_nothing_is_refused(path: Path) -> None:
    assert "no row holds a measurement" in refusal(path, text(SERVED | {"ttft_ms": "", "tpot_ms": "nan"}))
    assert "no measured column" in refusal(path, text(without(SERVED, "ttft_ms", "tpot_ms")))


# Columns.


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_input_column_is_needed(path: Path, layout: Layout) -> None:
    for column in layout.inputs:
        told = refusal(path, text(without(ROWS[layout.name], column)))
        assert f"columns are missing for the {layout.name} layout: {column}" in told


def test_a_misspelt_column_is_guessed_and_a_used_one_is_not_offered(path: Path) -> None:
    assert "did you mean 'n_gpu'?" in refusal(path, text(renamed(SERVED, "n_gpus", "n_gpu")))
    assert "did you mean" not in refusal(path, text(without(SERVED, "active_b")))  # total_b has its own meaning


@pytest.mark.parametrize("column", ["model", "isl", "tpot_ms", "source"])
def test_a_column_that_is_there_twice_is_refused(path: Path, column: str) -> None:
    lines = text(SERVED).splitlines()
    told = refusal(path, f"{lines[0]},{column}\n{lines[1]},7\n")
    assert f"more than once; got '{column}'" in told


def test_columns_of_no_interest_may_repeat(path: Path) -> None:
    lines = text(SERVED).splitlines()
    assert read(path, f"{lines[0]},note,note,\n{lines[1]},a,b,c\n").cells == 2


def test_two_layouts_in_one_file_are_refused(path: Path) -> None:
    told = refusal(path, text(NEAR | SERVED))
    assert "two layouts are mixed" in told
    assert "device" in told
    assert "serving" in told


# Units by name and by value.


@pytest.mark.parametrize(
    ("kind", "column", "other"),
    [
        ("serving", "ttft_ms", "ttft_s"), ("serving", "ttft_ms", "ttft"), ("serving", "ttft_ms", "TTFT_us"),
        ("serving", "tpot_ms", "tpot_s"), ("serving", "tpot_ms", "tpot_seconds"), ("serving", "tpot_ms", "tpot_tok_s"),
        ("device", "ttft_s", "ttft_ms"), ("device", "decode_tok_s", "decode_ms"),
        ("device", "decode_tok_s", "decode_ms_per_token"), ("device", "prefill_tok_s", "prefill_tok_ms"),
        ("device", "prefill_tok_s", "prefill_tps"),
    ],
)  # fmt: skip
def test_another_unit_in_a_name_is_refused(path: Path, kind: str, column: str, other: str) -> None:
    told = refusal(path, text(renamed(ROWS[kind], column, other)))
    assert "another unit or name" in told
    assert f"got {other!r}; allowed: {column}" in told


@pytest.mark.parametrize(
    ("kind", "column", "factor", "words"),
    [
        ("serving", "tpot_ms", 1e-3, "tpot_ms does not look like its unit"),
        ("serving", "tpot_ms", 1e3, "tpot_ms does not look like its unit"),
        ("serving", "ttft_ms", 1e-3, "ttft_ms does not look like its unit"),
        ("device", "decode_tok_s", 1e3, "decode_tok_s does not look like its unit"),
        ("device", "prefill_tok_s", 1e-3, "prefill_tok_s does not look like its unit"),
        ("device", "ttft_s", 1e3, "ttft_s does not look like its unit"),
    ],
)
def test_another_unit_in_the_values_is_refused(path: Path, kind: str, column: str, factor: float, words: str) -> None:
    told = refusal(path, text(ROWS[kind] | {column: str(float(ROWS[kind][column]) * factor)}))
    assert words in told
    assert "convert the values" in told


def test_seconds_that_could_be_milliseconds_are_told_by_the_other_column(path: Path) -> None:
    """A long wait of 5 s, or a short one of 90 ms, is a plausible number in the other unit."""
    assert "as if both were in ms" in refusal(path, text(SERVED | {"ttft_ms": "5", "tpot_ms": "40"}))
    near = NEAR | {"ttft_s": "90", "prefill_tok_s": "1422"}
    assert "ttft_s x prefill_tok_s does not look like prompt_len" in refusal(path, text(near))
    assert read(path, text(near | {"prompt_len": ""})).cells == 3  # nothing to compare with


def test_a_few_odd_rows_are_no_other_unit(path: Path) -> None:
    assert read(path, text(SERVED, SERVED, SERVED | {"ttft_ms": "462000"}, SERVED | {"tpot_ms": "0.2"})).cells == 8


# Cells.


@pytest.mark.parametrize("cell", ["0", "-3", "-0.0", "inf", "-inf", "1e999", "fast", "12 ms", "0x10", "<5", "1..2"])
@pytest.mark.parametrize("kind", ROWS)
def test_a_cell_that_is_no_positive_number_is_named(path: Path, kind: str, cell: str) -> None:
    row, column = ROWS[kind], {"serving": "tpot_ms", "device": "decode_tok_s"}[kind]
    told = refusal(path, text(row, row, row | {column: cell}))
    assert f"row 2: {column} must be a number above 0" in told
    assert repr(cell) in told


@pytest.mark.parametrize("cell", ["1e300", "1e-320", "1e8", "1e-6"])
def test_a_number_that_no_measurement_gives_is_named(path: Path, cell: str) -> None:
    assert "row 1: no measurement gives this tpot_ms" in refusal(path, text(SERVED, SERVED | {"tpot_ms": cell}, SERVED))


def test_row_numbers_count_rows_of_data_alone(path: Path) -> None:
    lines = text(SERVED, SERVED, SERVED | {"tpot_ms": "none of it"}).splitlines()
    assert "row 2:" in refusal(path, "\n\n".join(lines))


# Whatever comes.


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_table_or_refused(path: Path, content: bytes) -> None:
    assert "table.csv" in refusal(path, content)


CELLS = st.sampled_from(["", "0", "-1", "nan", "1e400", '"', "a,b", "\n", "7", "9" * 500, "\x00", "é"]) | st.text(
    st.characters(codec="utf-8"), max_size=12
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(list(ROWS)), changes=st.data())
def test_any_cells_are_read_as_written_or_refused(path: Path, kind: str, changes: st.DataObject) -> None:
    columns = changes.draw(st.lists(st.sampled_from(list(ROWS[kind])), max_size=3))
    row = ROWS[kind] | {column: changes.draw(CELLS) for column in columns}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    try:
        table = read_table(path)
    except UserError:
        return
    assert table.inputs == ({column: row[column].strip() for column in table.layout.inputs},)
    assert all(value > 0 for value in table.measured[0].values())
