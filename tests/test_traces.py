"""Reading traces: every layout, every kind of damage, and the account of rows."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles.errors import UserError
from sim.workloads.distributions import ExponentialSeconds, PriorityWeights
from sim.workloads.traces import read_trace
from sim.workloads.workload import Workload

HEADER = "arrival_s,prompt_tokens,output_tokens\n"
PLAIN = HEADER + "0,10,1\n1,20,2\n3,30,3\n"


def write(folder: Path, text: str | bytes, name: str = "trace") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def balanced(workload: Workload) -> bool:
    known = workload.provenance
    return known.rows_read == known.rows_emitted + sum(known.dropped.values())


def dropped(folder: Path, rows: str, header: str = HEADER) -> dict[str, int]:
    """The reasons for which rows beside one good one are dropped."""
    workload = read_trace(write(folder, header + rows + "\n5,7,7\n"))
    assert balanced(workload)
    assert workload.prompt_tokens.tolist() == [7]
    return workload.provenance.dropped


AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951691,396,109\n"
    "2023-11-17 00:00:00.0000000,10,1\n"
)
MOONCAKE = "".join(
    json.dumps({"timestamp": t, "input_length": p, "output_length": o, "hash_ids": ids}) + "\n"
    for t, p, o, ids in [
        (0, 1000, 5, [7, 8]),
        (0, 600, 6, [7, 9]),
        (3000, 512, 7, [7]),
        (6000, 1500, 8, [7, 8, 1]),
    ]
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n"
    "45,ChatGPT,1087,0,1087,Conversation log\n"
    "118,GPT-4,417,276,693,API log\n"
)
BURST_NEW = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,17,1.5,ChatGPT,472,18,490,Conversation log\n"
    "6,,1.5,ChatGPT,4,18,22,API log\n"
    "7,9,1.5,ChatGPT,5,18,23,Conversation log\n"
    "8,17,1.5,ChatGPT,6,18,24,Conversation log\n"
)
VIDUR = "request_id,arrived_at,num_prefill_tokens,num_decode_tokens,e2e_s\n0,0.25,395,112,2.5\n1,0.75,1030,403,9\n"
VLLM = "".join(
    json.dumps({"id": "a", "input_toks": p, "output_toks": o, "arrival_time": t, "queued_ts": q}) + "\n"
    for p, o, t, q in [(23, 5, 1787267980.08, 100.5), (24, 6, 1787267980.99, 101.75)]
)

LAYOUTS = {
    "azure": (AZURE, [0, 4.3145791, 20653.31941], [374, 396, 10], [44, 109, 1]),
    "mooncake": (MOONCAKE, [0, 1.5, 3, 6], [1000, 600, 512, 1500], [5, 6, 7, 8]),
    "burstgpt": (BURST, [0, 113], [472, 417], [18, 276]),
    "burstgpt ": (BURST_NEW, [0, 1, 2, 3], [472, 4, 5, 6], [18] * 4),
    "vidur": (VIDUR, [0, 0.5], [395, 1030], [112, 403]),
    "vllm": (VLLM, [0, 1.25], [23, 24], [5, 6]),
    "plain": (PLAIN, [0, 1, 3], [10, 20, 30], [1, 2, 3]),
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("name", ["trace", "mooncake.csv", "azure.jsonl", "x.gz"])
def test_layout_is_told_by_its_columns_alone(tmp_path: Path, kind: str, name: str) -> None:
    text, arrival, prompt, output = LAYOUTS[kind]
    workload = read_trace(write(tmp_path, text, name))
    assert workload.provenance.kind == kind.strip()
    assert workload.arrival_s.tolist() == arrival
    assert workload.prompt_tokens.tolist() == prompt
    assert workload.output_tokens.tolist() == output
    assert workload.after.tolist() == [-1] * len(workload)
    assert balanced(workload)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_dress_does_not_matter(tmp_path: Path, kind: str) -> None:
    text = LAYOUTS[kind][0]
    plain = read_trace(write(tmp_path, text))
    for dressed in (
        gzip.compress(text.encode()),
        gzip.compress(text[:60].encode()) + gzip.compress(text[60:].encode()),
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        ("\n \n" + text.replace("\n", "\n\n")).encode(),
        text.rstrip("\n").encode(),
    ):
        other = read_trace(write(tmp_path, dressed, "dressed"))
        assert other.provenance.sha256 == hashlib.sha256(dressed).hexdigest()
        assert other.provenance.rows_read == plain.provenance.rows_read
        for column in ("arrival_s", "prompt_tokens", "output_tokens", "session", "name_ids"):
            np.testing.assert_array_equal(getattr(other, column), getattr(plain, column))


def test_the_same_rows_as_json(tmp_path: Path) -> None:
    rows = [
        {"Output_Tokens ": 2, "arrival_s": "0.5", "prompt_tokens": 9.0},
        {"arrival_s": 1, "prompt_tokens": 3},
    ]
    rows.append({"OUTPUT_TOKENS": "4", "arrival_s": 2, "prompt_tokens": True})
    rows.append({"output_tokens": "4", "arrival_s": 2, "prompt_tokens": 11})
    workload = read_trace(write(tmp_path, "{broken\n" + "\n".join(map(json.dumps, rows)) + "\n[1]\n" + "[" * 99999))
    assert workload.prompt_tokens.tolist() == [9, 11]
    assert workload.provenance.dropped == {"malformed row": 5}
    assert balanced(workload)


def test_column_names_in_any_case_with_blanks(tmp_path: Path) -> None:
    text = ' "Arrival_S" , PROMPT_TOKENS,extra,output_tokens\n 1 , 12.0,x,"3"\n2,1e3,"a,b", 4\n'
    workload = read_trace(write(tmp_path, text))
    assert workload.prompt_tokens.tolist() == [12, 1000]
    assert workload.output_tokens.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("2024-05-10 00:00:01.5", 1.5),
        ("2024-05-10T00:00:00.009930+00:00", 0.00993),
        ("2024-05-10 02:00:03+02:00", 3.0),
        ("2024-05-09 23:30:04.25-0030", 4.25),
        ("2024-05-11 00:00:00Z", 86400.0),
        ("2024-05-10 00:00:00.123456789", 0.1234567),
    ],
)
def test_azure_zones_and_fractions(tmp_path: Path, stamp: str, seconds: float) -> None:
    text = f"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,1\n{stamp},1,1\n"
    assert read_trace(write(tmp_path, text)).arrival_s[1] == seconds


@pytest.mark.parametrize(
    "stamp",
    ["2024-13-10 00:00:00", "2024-05-10 24:00:00", "2024-05-10", "17", "", "2024-05-10 00:00:00.1x", "nan"],
)
def test_azure_bad_timestamps(tmp_path: Path, stamp: str) -> None:
    text = f"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,1\n{stamp},1,1\n"
    assert read_trace(write(tmp_path, text)).provenance.dropped == {"bad timestamp": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2", "malformed row"),
        ("1,2,3,4", "malformed row"),
        (",,", "bad timestamp"),
        ("1,x,3", "malformed row"),
        ("1,12.5,3", "malformed row"),
        ("1,1_000,3", "malformed row"),
        ("1,٣,3", "malformed row"),
        (f"1,{2**31 + 1},3", "malformed row"),
        (f"1,{'9' * 5000},3", "NaN or infinite"),
        ('1,"2,3', "malformed row"),
        ("1,2\0,3", "malformed row"),
        ("x,2,3", "bad timestamp"),
        ("1e300,2,3", "bad timestamp"),
        ("nan,2,3", "NaN or infinite"),
        ("-inf,2,3", "NaN or infinite"),
        ("1,inf,3", "NaN or infinite"),
        ("1,-2,3", "negative tokens"),
        ("1,2,-99999999999999999999", "negative tokens"),
        ("1,0,3", "no prompt tokens"),
        ("1,0,0", "no prompt tokens"),
        ("1,3,0", "no output tokens"),
    ],
)
def test_bad_rows_are_counted_under_their_reason(tmp_path: Path, row: str, reason: str) -> None:
    assert dropped(tmp_path, row) == {reason: 1}
    assert dropped(tmp_path, "\n".join([row] * 3)) == {reason: 3}


def test_surplus_blank_cells_are_no_harm(tmp_path: Path) -> None:
    assert len(read_trace(write(tmp_path, HEADER + "1,2,3,, \n"))) == 1


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("ends", [b"\n0,10,1\n", b""])
def test_a_line_of_any_length_is_skipped_in_bounded_memory(tmp_path: Path, zipped: bool, ends: bytes) -> None:
    path = tmp_path / "long"
    with gzip.open(path, "wb", compresslevel=1) if zipped else path.open("wb") as file:
        file.write(HEADER.encode() + b"0,5,5\n")
        for _ in range(24):
            file.write(b"7" * (1 << 20))
        file.write(ends)
    tracemalloc.start()
    workload = read_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert workload.provenance.dropped == {"line too long": 1}
    assert len(workload) == (2 if ends else 1)
    assert balanced(workload)


def test_long_lines_of_json_are_allowed_more(tmp_path: Path) -> None:
    good = json.dumps(
        {"timestamp": 0, "input_length": 512 * 300_000, "output_length": 1, "hash_ids": [*range(300_000)]}
    )
    assert len(good) > 1 << 20
    bad = '{"timestamp": 0, "x": "' + "x" * (16 << 20) + '"}'
    workload = read_trace(write(tmp_path, f"{good}\n{bad}\n{good}\n"))
    assert workload.provenance.dropped == {"line too long": 1}
    assert len(workload.name_ids) == 600_000
    assert balanced(workload)


def test_lines_around_the_limit_are_counted_once(tmp_path: Path) -> None:
    for length in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1]:
        row = ("1,2,3" + " " * length)[:length]
        workload = read_trace(write(tmp_path, HEADER + f"{row}\n" * 3 + "1,2,3\n"))
        assert workload.provenance.dropped == ({"line too long": 3} if length > 1 << 20 else {})
        assert workload.provenance.rows_read == 4


def test_rows_out_of_order_are_sorted_stably(tmp_path: Path) -> None:
    workload = read_trace(write(tmp_path, HEADER + "5,1,1\n3,2,1\n5,3,1\n4,4,1\n"))
    assert workload.prompt_tokens.tolist() == [2, 4, 1, 3]
    assert workload.arrival_s.tolist() == [0, 1, 2, 2]
    assert any("2 rows were out of order" in note for note in workload.provenance.notes)
    assert any("first arrival (3 s) shifted" in note for note in workload.provenance.notes)


def test_names_identify_prefixes(tmp_path: Path) -> None:
    rows = [(1024, [1, 2]), (1024, [3, 2]), (700, [1, 2]), (2000, [1]), (100, [1, 2, 3])]
    text = "".join(
        json.dumps({"timestamp": 9000 * i, "input_length": p, "output_length": 1, "hash_ids": ids}) + "\n"
        for i, (p, ids) in enumerate(rows)
    )
    workload = read_trace(write(tmp_path, text))
    assert workload.name_unit_tokens == 512
    assert workload.named_tokens.tolist() == [1024, 1024, 700, 512, 100]
    names = [names_of(workload, request) for request in range(5)]
    assert names == [[0, 1], [2, 3], [0, 1], [0], [0]]
    assert sum("hash" in note for note in workload.provenance.notes) == 2


def names_of(workload: Workload, request: int) -> list[int]:
    count = -(-int(workload.named_tokens[request]) // workload.name_unit_tokens)
    start = int(workload.name_start[request])
    return workload.name_ids[start : start + count].tolist()  # type: ignore[no-any-return]


def test_mooncake_without_usable_hashes(tmp_path: Path) -> None:
    text = MOONCAKE + '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": ["a"]}\n'
    text += '{"timestamp": 9000, "input_length": 5, "output_length": 5}\n'
    workload = read_trace(write(tmp_path, text))
    assert workload.provenance.dropped == {"malformed row": 1}
    assert workload.named_tokens.tolist() == [1000, 600, 512, 1500, 0]


def test_one_stamp_for_all_is_spread_over_the_published_grid(tmp_path: Path) -> None:
    row = '{"timestamp": 27, "input_length": 5, "output_length": 5}\n'
    assert read_trace(write(tmp_path, row * 4)).arrival_s.tolist() == [0, 0.75, 1.5, 2.25]


def test_burstgpt_keeps_sessions(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, BURST_NEW)).session.tolist() == [0, -1, 1, 0]
    assert read_trace(write(tmp_path, BURST)).provenance.dropped == {"no output tokens": 1}


def test_vllm_without_queued_ts_uses_arrival_time(tmp_path: Path) -> None:
    workload = read_trace(write(tmp_path, VLLM.replace("queued_ts", "scheduled_ts")))
    assert workload.arrival_s[1] == pytest.approx(0.91, abs=1e-6)
    assert any("arrival_time" in note for note in workload.provenance.notes)


def test_columns_of_its_own_win_over_what_is_given(tmp_path: Path) -> None:
    header = HEADER.strip() + ",priority,patience_s,deadline_s,session\n"
    text = header + "0,1,1,2,5,inf,a\n1,1,1,,,,\n2,1,1,0,,9.5,a\n3,1,1,8,1,1,b\n4,1,1,1,-1,1,b\n5,1,1,1,nan,1,b\n"
    workload = read_trace(write(tmp_path, text), priority=3, patience_s=7, deadline_s=8)
    assert workload.priority.tolist() == [2, 3, 0]
    assert workload.patience_s.tolist() == [5, 7, 7]
    assert workload.deadline_s.tolist() == [math.inf, 8, 9.5]
    assert workload.session.tolist() == [0, -1, 0]
    assert workload.provenance.dropped == {"malformed row": 2, "NaN or infinite": 1}


def test_random_priority_and_patience_are_seeded(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "".join(f"{i},1,1\n" for i in range(4000)))
    weights, patience = PriorityWeights(weights={0: 1, 5: 3}), ExponentialSeconds(mean=4)
    one, same, other = (read_trace(path, seed=seed, priority=weights, patience_s=patience) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.patience_s, same.patience_s)
    np.testing.assert_array_equal(one.priority, same.priority)
    assert (one.patience_s != other.patience_s).all()
    assert (one.priority == 5).mean() == pytest.approx(0.75, abs=0.03)
    assert one.patience_s.mean() == pytest.approx(4, rel=0.07)


def test_first_requests(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    workload = read_trace(path, requests=2)
    assert workload.arrival_s.tolist() == [0, 1]
    assert workload.provenance.dropped == {"beyond --requests": 1}
    assert workload.provenance.rows_read == 3
    assert balanced(workload)
    assert workload.provenance.sha256 == hashlib.sha256(PLAIN.encode()).hexdigest()
    assert read_trace(path, requests=3).provenance.dropped == {}


def test_repetition_goes_on_a_mean_gap_later(tmp_path: Path) -> None:
    workload = read_trace(write(tmp_path, PLAIN), requests=8)
    assert workload.arrival_s.tolist() == [0, 1, 3, 4.5, 5.5, 7.5, 9, 10]
    assert workload.prompt_tokens.tolist() == [10, 20, 30, 10, 20, 30, 10, 20]
    assert workload.provenance.rows_emitted == 3
    assert balanced(workload)
    assert any("repeated" in note for note in workload.provenance.notes)
    assert len({len(getattr(workload, name)) for name in ("after", "priority", "patience_s", "session")}) == 1


def test_repetitions_hold_other_conversations_unless_told_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, MOONCAKE)
    other = read_trace(path, requests=7)
    first = [names_of(other, request) for request in range(4)]
    again = [names_of(other, request + 4) for request in range(3)]
    assert again == [[name + 4 for name in names] for names in first[:3]]
    same = read_trace(path, requests=7, distinct_repeats=False)
    assert [names_of(same, request + 4) for request in range(3)] == first[:3]
    sessions = read_trace(write(tmp_path, BURST_NEW), requests=8).session
    assert sessions.tolist() == [0, -1, 1, 0, 2, -1, 3, 2]


def test_repeating_a_single_row(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, HEADER + "9,1,1\n"), requests=3).arrival_s.tolist() == [0, 1, 2]


def test_time_scale_multiplies_stamps(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    assert read_trace(path, time_scale=0.5).arrival_s.tolist() == [0, 0.5, 1.5]
    assert read_trace(path, time_scale=0.5, requests=4).arrival_s.tolist() == [0, 0.5, 1.5, 2.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (HEADER.encode(), "a header and no rows"),
        (HEADER.encode() + b"1,0,1\nx,1,1\n", "none of the 2 rows .*bad timestamp: 1, no prompt tokens: 1"),
        (b"PAR1\0\0\0", "binary"),
        (PLAIN.encode("utf-16"), "binary"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-12], "damaged or cut off"),
        (b"\x89PNG\r\n\x1a\n\0\0", "binary"),
        (b"\x1f\x8bnot gzip", "damaged or cut off"),
        (b"a,b\n1,2\n", "fit no known trace layout: 'a', 'b'; allowed: plain .* azure .* mooncake"),
        (
            b"arival_s,prompt_tokens,output_tokens\n1,2,3\n",
            "'arival_s': did you mean 'arrival_s'.*lacks arrival_s",
        ),
        (b"arrival_s;prompt_tokens;output_tokens\n1;2;3\n", "separated by commas"),
        (b"0.5,10,20\n", "first line must name the columns"),
        (b'[{"arrival_s": 1}]\n', "one object a line"),
        (b"{]\n{]\n", "no line .* readable JSON"),
        (b'{"arrival_s": 1}\n', "lacks prompt_tokens, output_tokens"),
        (b"x" * (3 << 20), "first line .* too long"),
        (b"x" * (3 << 20) + b"\n1,2\n", "first line .* too long"),
        (b"arrival_s,arrival_s,prompt_tokens,output_tokens\n1,1,2,3\n", "more than once"),
        (
            HEADER.strip().encode() + b",arrived_at,num_prefill_tokens,num_decode_tokens\n",
            "more than one layout",
        ),
    ],
)
def test_what_is_no_trace_says_why(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_trace(write(tmp_path, text))


def test_missing_file_folder_and_bad_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    for wrong, message in ((tmp_path / "none", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=message):
            read_trace(wrong)
    for arguments in (
        {"requests": 0},
        {"time_scale": 0.0},
        {"time_scale": math.nan},
        {"priority": 8},
        {"patience_s": 0.0},
        {"deadline_s": math.nan},
        {"seed": -1},
    ):
        with pytest.raises(UserError):
            read_trace(path, **arguments)


CELLS = st.one_of(
    st.integers(-3, 50).map(str),
    st.floats(allow_nan=True).map(str),
    st.sampled_from(["", " ", "x", "7.0", '"', '"5"', "1_0", "²", "\ufeff", str(2**31), str(2**63), "\0"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=20))
def test_every_row_is_accounted_for(tmp_path: Path, rows: list[list[str]]) -> None:
    lines = [",".join(row) for row in rows]
    path = write(tmp_path, HEADER + "\n".join(lines) + "\n1,2,3\n")
    workload = read_trace(path)
    assert balanced(workload)
    assert workload.provenance.rows_read == sum(bool(line.strip()) for line in lines) + 1
    assert np.isfinite(workload.arrival_s).all()
    assert (np.diff(workload.arrival_s) >= 0).all()
    assert workload.arrival_s[0] == 0
    assert workload.prompt_tokens.min() >= 1
    assert workload.output_tokens.min() >= 1
    # A good row stays good whatever stands beside it: one file a row gives the same rows.
    kept = 0
    for line in lines:
        if line.strip():
            with suppress(UserError):
                kept += len(read_trace(write(tmp_path, HEADER + line, "single")))
    assert kept + 1 == len(workload)


def test_progress_is_told_the_rows(tmp_path: Path) -> None:
    told: list[int] = []
    read_trace(write(tmp_path, HEADER + "1,2,3\n" * 200_000), progress=told.append)
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == 200_000


@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("traces/AzureLLMInferenceTrace_conv_2023.csv", "azure", 19366),
        ("traces/AzureLLMInferenceTrace_code_2023.csv", "azure", 8819),
        ("traces/mooncake_conversation_trace.jsonl", "mooncake", 12031),
        ("vidur_run/requests.csv", "vidur", 5000),
        ("vllm_runs/RTX4090_Llama-3.1-8B/requests.jsonl", "vllm", 300),
        ("vllm_runs/RTXPRO6000_Llama-3.1-8B/requests.jsonl", "vllm", 300),
    ],
)
def test_real_traces(shared: Path, name: str, kind: str, rows: int) -> None:
    begun = time.perf_counter()
    workload = read_trace(shared / name)
    assert time.perf_counter() - begun < 3  # ten to twenty times what it takes, for a busy machine
    assert workload.provenance.kind == kind
    assert workload.provenance.rows_read == workload.provenance.rows_emitted == len(workload) == rows
    assert (np.diff(workload.arrival_s) >= 0).all()


def test_real_azure_to_the_tick(shared: Path) -> None:
    workload = read_trace(shared / "traces/AzureLLMInferenceTrace_conv_2023.csv")
    assert workload.arrival_s[1] == 4.314579
    assert workload.arrival_s[-1] == 3501.721937


def test_real_mooncake(shared: Path) -> None:
    path = shared / "traces/mooncake_conversation_trace.jsonl"
    workload = read_trace(path)
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    stamps = np.array([row["timestamp"] for row in rows]) / 1000
    assert (np.diff(workload.arrival_s) > 0).all()
    assert (workload.arrival_s >= stamps).all()
    assert (workload.arrival_s < stamps + 3).all()
    np.testing.assert_array_equal(workload.named_tokens, workload.prompt_tokens)
    assert [names_of(workload, r) for r in range(300)] == [row["hash_ids"] for row in rows[:300]]
