import gzip
import io
import tarfile
import tracemalloc

import pytest

from diffusevae.sources import transfer
from diffusevae.sources.transfer import (
    SourceFailure,
    read_file,
    read_member,
    read_url,
    run_client,
    unpack_gzip,
)
from tests.support.loopback import body, serve, stall, status

CONTENT = bytes(range(256)) * 4


def failure_of(function, *arguments, **keywords) -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        function(*arguments, **keywords)
    return caught.value


def test_url_gives_its_bytes():
    with serve({"/a": body(CONTENT)}) as (url, _):
        assert read_url(f"{url}/a", len(CONTENT)) == CONTENT


@pytest.mark.fault("D1")
def test_truncated_transfer_is_tried_three_times():
    with serve({"/a": body(CONTENT[:100], announced=1024)}) as (url, asked):
        failure = failure_of(read_url, f"{url}/a", 1024)
    assert str(failure) == "got 100 of 1024 bytes, 3 times"
    assert asked == ["/a"] * 3


@pytest.mark.fault("D1")
def test_transfer_broken_off_once_is_mended():
    answers = [body(CONTENT), body(CONTENT[:7], announced=1024)]
    with serve({"/a": lambda handler: answers.pop()(handler)}) as (url, _):
        assert read_url(f"{url}/a", 1024) == CONTENT


@pytest.mark.fault("D9")
def test_web_page_is_refused_by_its_content_type():
    with serve({"/a": body(b"<html>", kind="text/html; charset=utf-8")}) as (url, _):
        assert "web page (text/html)" in str(failure_of(read_url, f"{url}/a", 1024))


@pytest.mark.parametrize("code", [403, 404, 503])
@pytest.mark.fault("D9")
def test_error_status_is_named(code):
    with serve({"/a": status(code)}) as (url, asked):
        assert f"HTTP status {code}" in str(failure_of(read_url, f"{url}/a", 1024))
    assert len(asked) == 1


@pytest.mark.fault("D9")
def test_redirection_is_followed_and_a_loop_ends():
    answers = {"/old": status(302, "/new"), "/new": body(CONTENT), "/loop": status(302, "/loop")}
    with serve(answers) as (url, _):
        assert read_url(f"{url}/old", 1024) == CONTENT
        assert "302" in str(failure_of(read_url, f"{url}/loop", 1024))


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_redirection_does_not_leave_http(target):
    with serve({"/a": status(302, target)}) as (url, _):
        failure_of(read_url, f"{url}/a", 1024)


@pytest.mark.fault("D10")
def test_stalled_server_is_given_up():
    with serve({"/a": stall}) as (url, _):
        failure = failure_of(read_url, f"{url}/a", 1024, timeout_seconds=0.2)
    assert str(failure) == "no answer for 0.2 s"
    assert failure.gone


@pytest.mark.fault("D10")
def test_dripping_server_is_given_up(monkeypatch):
    monkeypatch.setattr(transfer, "MIN_BYTES_PER_SECOND", 10_000)

    def drip(handler):
        body(b"", announced=1000)(handler)
        for _ in range(1000):
            handler.wfile.write(b".")
            handler.wfile.flush()
            handler.connection.settimeout(0.02)
            try:
                if handler.connection.recv(1) == b"":
                    return
            except TimeoutError:
                pass

    with serve({"/a": drip}) as (url, _):
        assert "slower than" in str(failure_of(read_url, f"{url}/a", 1000, timeout_seconds=0.2))


def test_larger_body_than_expected_is_refused():
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    with serve({"/announced": body(CONTENT), "/silent": endless}) as (url, _):
        assert "offers 1024 bytes" in str(failure_of(read_url, f"{url}/announced", 1023))
        assert "larger than the 1023" in str(failure_of(read_url, f"{url}/silent", 1023))


def test_refused_connection_means_that_the_source_is_gone():
    with serve({}) as (url, _):
        pass
    assert failure_of(read_url, f"{url}/a", 1024).gone


def test_password_of_a_url_goes_into_a_header_and_into_no_message():
    seen = []

    def answer(handler):
        seen.append(handler.headers["Authorization"])
        status(401)(handler)

    with serve({"/a": answer}) as (url, _):
        failure = failure_of(read_url, url.replace("//", "//me:canary@") + "/a", 1024)
    assert seen == ["Basic bWU6Y2FuYXJ5"]  # base64 of me:canary
    assert "canary" not in str(failure)
    assert "canary" not in transfer.shorten("cannot reach https://me:canary@host/a")


def test_other_schemes_are_refused():
    assert "'ftp'" in str(failure_of(read_url, "ftp://127.0.0.1/a", 1024))


def test_file_is_bounded_too(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert read_file(tmp_path / "a", 1024) == CONTENT
    assert "larger" in str(failure_of(read_file, tmp_path / "a", 1023))
    assert str(failure_of(read_file, tmp_path / "b", 1024)) == "has no b"


def test_gzip_is_unpacked_and_other_data_passes():
    assert unpack_gzip(gzip.compress(CONTENT), 1024) == CONTENT
    assert unpack_gzip(CONTENT, 1024) == CONTENT


@pytest.mark.fault("D14")
def test_gzip_bomb_ends_at_the_limit():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    assert "more than the 1000 bytes" in str(failure_of(unpack_gzip, bomb, 1000))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_damaged_gzip_is_refused():
    packed = gzip.compress(CONTENT)
    assert "ends early" in str(failure_of(unpack_gzip, packed[:-9], 1024))
    flipped = packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:]  # a bit of the checksum
    assert "damaged gzip" in str(failure_of(unpack_gzip, flipped, 1024))


def tar_of(*entries: tarfile.TarInfo, content: bytes = CONTENT) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed


def test_member_of_an_archive_is_read():
    assert read_member(tar_of(tarfile.TarInfo("./x/a")), "x/a", 1024) == CONTENT


@pytest.mark.fault("D15")
def test_hostile_members_are_never_written(tmp_path, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    link = tarfile.TarInfo("a")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    archive = tar_of(tarfile.TarInfo("../b"), tarfile.TarInfo(str(tmp_path / "c")), link)
    assert "has no a" in str(failure_of(read_member, archive, "a", 1024))
    assert [path.name for path in tmp_path.rglob("*")] == ["inside"]


@pytest.mark.fault("D14", "D15")
def test_oversized_and_damaged_archives_are_refused(monkeypatch):
    archive = tar_of(tarfile.TarInfo("a"), tarfile.TarInfo("b"))
    assert "larger than the 1023" in str(failure_of(read_member, archive, "a", 1023))
    cut = io.BytesIO(archive.getvalue()[:40])
    assert "damaged archive" in str(failure_of(read_member, cut, "b", 1024))
    assert "damaged archive" in str(failure_of(read_member, io.BytesIO(b"no tar"), "b", 1024))
    monkeypatch.setattr(transfer, "MAX_ARCHIVE_BYTES", 1000)
    archive.seek(0)
    assert "archive is larger" in str(failure_of(read_member, archive, "b", 1024))


def test_client_failure_gives_its_own_reason(tmp_path, monkeypatch):
    script = "echo npm warn x >&2; echo npm error code E1 >&2; echo npm error y >&2; exit 1"
    assert str(failure_of(run_client, ["sh", "-c", script], tmp_path)) == "npm error code E1"
    failure = failure_of(run_client, ["no-such-client"], tmp_path)
    assert str(failure) == "no-such-client is not installed" and failure.gone
    monkeypatch.setattr(transfer, "CLIENT_TIMEOUT_SECONDS", 0.1)
    assert "no end after 0.1 s" in str(failure_of(run_client, ["sleep", "10"], tmp_path))


def test_reasons_are_one_short_line():
    assert transfer.shorten("a\n  b\t" + "c" * 300) == "a b " + "c" * 153 + "..."
