"""A journal on a disk that runs full, or that was torn, keeps what was whole."""

import resource
import signal
from pathlib import Path

import pytest

from diffusevae.tracking.journal import Journal

MESSAGE = {"do": "tag", "run": 0, "milliseconds": 1, "name": "t", "value": "x" * 40}


def numbered(number: int) -> dict:
    return MESSAGE | {"run": number}


@pytest.fixture
def limit_size():
    """Return a function that lets no file of this process grow beyond so many bytes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_line_that_finds_no_room_leaves_the_others_whole(tmp_path, limit_size):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(numbered(1))
    limit_size(journal.path.stat().st_size + 20)  # the next write is a short one
    for _ in range(2):
        with pytest.raises(OSError):
            journal.append(numbered(2))
    assert journal.read() == [numbered(1)]
    limit_size(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    journal.append(numbered(3))
    journal.close()
    assert Journal(journal.path).read() == [numbered(1), numbered(3)]


@pytest.mark.parametrize("torn", [b'{"do": "ta', b"\x00\xff", b'{"do": 1}\n', b"[1]\n"])
def test_a_torn_line_costs_itself_only(tmp_path, torn):
    path = Path(tmp_path / "journal.jsonl")
    journal = Journal(path)
    journal.append(numbered(1))
    journal.close()
    with open(path, "ab") as file:
        file.write(torn)
    again = Journal(path)
    again.append(numbered(2))
    assert again.read() == [numbered(1), numbered(2)]
