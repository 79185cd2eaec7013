"""What `diffusevae doctor` says of a machine and a checkout, each in one line."""

import shutil
import socket
from collections import namedtuple
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from command import health as shown
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.sources.places import torchvision_urls
from tasks import health
from tests.support.checkouts import ROOT

Usage = namedtuple("Usage", "total used free")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A checkout without data, servers and results."""
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".git").symlink_to(ROOT / ".git")
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", health.STORAGE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_check_ends_in_one_line_and_the_lines_are_printed(folder, capsys):
    found = {each.what: each for each in health.examine()}
    assert found.keys() == health.CHECKS.keys()
    assert all(each.line and "\n" not in each.line for each in found.values())
    assert {found[what].level for what in ("Python", "git", "MLflow", "Prefect", "Optuna")} == {
        "ok"
    }


def test_what_is_wrong_is_listed_and_ends_with_3(monkeypatch, capsys):
    checks = {
        "first": lambda: ("ok", "it is"),
        "second": lambda: ("warn", "look [here]"),
        "third": lambda: health.check_prefect(),
    }
    monkeypatch.setattr(health, "CHECKS", checks)
    monkeypatch.setenv("PREFECT_API_URL", f"{NOWHERE}/api")
    with pytest.raises(EnvironmentFailure, match="^third: to be mended"):
        shown.show()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "warn", "wrong"]
    assert "look [here]" in lines[1]
    assert "PREFECT_API_URL: 127.0.0.1 does not answer within" in lines[2]


@pytest.mark.parametrize(
    ("gigabytes", "level"), [(100, "ok"), (health.FREE / 2, "warn"), (health.LITTLE / 2, "wrong")]
)
def test_room_is_asked_for_before_it_is_too_late(gigabytes, level, monkeypatch):
    usage = Usage(1, 1, gigabytes * health.GIGABYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found, line = health.check_disk()
    assert found == level and ("free 5 GB" in line) == (level != "ok")


def test_servers_that_listen_answer_and_no_password_is_shown(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://admin:kanarie@127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert health.check_mlflow() == ("ok", "127.0.0.1 answers")
    monkeypatch.setenv(health.STORAGE_VARIABLE, "postgresql://optuna:kanarie@127.0.0.1:9/optuna")
    for check in (health.check_mlflow, health.check_optuna):
        with pytest.raises(EnvironmentFailure, match="127.0.0.1 does not answer") as failed:
            check()
        assert "kanarie" not in str(failed.value)


def test_data_come_from_the_mirror_else_it_is_told_that_this_is_offline(folder, monkeypatch):
    monkeypatch.setattr(health, "_answers", lambda uri: False)
    monkeypatch.delenv("DIFFUSEVAE_MIRROR", raising=False)
    level, line = health.check_data()
    assert level == "warn" and "offline?" in line and "DIFFUSEVAE_MIRROR" in line
    for name in health.FIRST:  # each where it comes from
        assert urlsplit(torchvision_urls(name)[0]).hostname in line
    monkeypatch.setenv("DIFFUSEVAE_MIRROR", str(folder))
    assert health.check_data()[0] == "ok"
    for asset in health.FIRST:
        for file in health.ASSETS[asset].files:
            path = Path("scratch/downloads", asset, file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert health.check_data() == ("ok", "mnist and alexnet are here")


def test_a_run_at_work_and_a_lock_that_was_left_are_told(folder):
    from tasks.dvc.checkout_lock import own_checkout

    assert health.check_locks() == ("ok", "no run is at work here")
    with own_checkout():
        assert health.check_locks()[1].startswith("a run (PID ")
    health.RWLOCK.parent.mkdir(parents=True)
    health.RWLOCK.write_text('{"data": {"write": {"pid": 1}}}')
    assert health.check_locks()[0] == "warn"
