import os
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from diffusevae.core import disk
from diffusevae.core.errors import EnvironmentFailure


def test_written_file_has_its_content_and_no_temporary_file_stays(tmp_path):
    disk.write_file(tmp_path / "new" / "a", b"content")
    assert (tmp_path / "new" / "a").read_bytes() == b"content"
    assert os.listdir(tmp_path / "new") == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, call):
    disk.write_file(tmp_path / "a", b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, call, fail)
    with pytest.raises(EnvironmentFailure, match="a: No space left on device; free disk space"):
        disk.write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_was_open_to_others_is_closed_which_is_said_once(tmp_path, capsys):
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o755)
    folder.chmod(0o777)
    (folder / "secret.db").touch()
    for _ in range(2):
        disk.make_private(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{folder}: was open to other users of this machine; now it is yours")
    disk.make_private(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700 and not capsys.readouterr().err


def test_too_little_room_is_told_in_megabytes(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 2_000_000, 2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    disk.require_room(tmp_path, 2_000_000)
    with pytest.raises(EnvironmentFailure, match="needs 55 MB, 2 MB free"):
        disk.require_room(tmp_path, 55_000_000)


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for place in ("file", "file/out"):
        with pytest.raises(
            EnvironmentFailure, match=f"cannot write into {tmp_path / place}: .*; move away what"
        ):
            disk.require_writable(tmp_path / place)
    disk.require_writable(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_lock_is_held_by_one_and_says_that_it_waits(tmp_path):
    events = []

    def second():
        with disk.lock(tmp_path / "locks" / "a", lambda: events.append("waits")):
            events.append("second")

    with disk.lock(tmp_path / "locks" / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        while not events:
            time.sleep(0.01)
        events.append("first")
    thread.join()
    assert events == ["waits", "first", "second"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("folder", "is a folder"),
        ("none/a.png", "there is no folder .*none"),
        ("file/a.png", "there is no folder .*file"),
        ("/proc/a.png", "No such file or directory"),
        ("/proc/version", "Invalid argument|Permission denied"),
    ],
)
def test_a_place_where_no_file_can_be_written_is_one_line(tmp_path, monkeypatch, place, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFailure, match=f"^{place}: ({reason}); name another file"):
        disk.require_place(Path(place))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_place_for_a_file_is_left_as_it_is(tmp_path):
    (tmp_path / "old").write_text("x")
    for name in ("old", "new"):
        disk.require_place(tmp_path / name)
    assert (tmp_path / "old").read_text() == "x" and os.listdir(tmp_path) == ["old"]
