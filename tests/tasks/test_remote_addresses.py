"""DVC remotes on S3 and over SSH: what one project pushes there, another pulls."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import boto3
import pytest

from flows.prefect_server import free_port
from tasks.dvc.process import has_remote, pull, push, reproduce
from tests.support.services import start

DVC_YAML = """\
stages:
  first:
    cmd: cat given.txt > first.txt
    deps: [given.txt]
    outs: [first.txt]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "given.txt").write_text("done\n")
    return folder


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The settings of a remote in a bucket of a store of our own."""
    port = free_port()
    with start(
        tmp_path_factory.mktemp("s3"),
        "/moto-api/",
        sys.executable,
        "-m",
        "moto.server",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
        port=port,
    ) as store:
        store.wait()
        keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret"}
        client = boto3.client("s3", endpoint_url=store.address, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="results")
        yield {
            "url": "s3://results/dvc",
            "endpointurl": store.address,
            "region": "us-east-1",
            "access_key_id": "me",
            "secret_access_key": "secret",
        }


class KnownUser(asyncssh.SSHServer):
    """Lets one user in by a password."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("me", "secret")


@pytest.fixture(scope="module")
def ssh(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The settings of a remote behind an SSH server of our own."""
    root = tmp_path_factory.mktemp("ssh")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port = free_port()

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=KnownUser,
            sftp_factory=True,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    try:
        yield {
            "url": f"ssh://127.0.0.1{root}/dvc",
            "port": str(port),
            "user": "me",
            "password": "secret",
        }
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_what_one_project_pushes_another_pulls(kind, request, template, tmp_path, monkeypatch):
    settings = request.getfixturevalue(kind)
    projects = [tmp_path / name for name in ("one", "other", "without lock")]
    for project in projects:
        shutil.copytree(template, project)
        monkeypatch.chdir(project)
        lines = [f"{name} = {value}" for name, value in settings.items()]
        text = "\n".join(["[core]", "remote = store", "['remote \"store\"']", *lines])
        (project / ".dvc/config.local").write_text(text)  # as `dvc remote add --local` would
        assert has_remote()
    monkeypatch.chdir(projects[0])
    reproduce("first", print, {})
    push("first")
    shutil.copy("dvc.lock", projects[1])
    monkeypatch.chdir(projects[1])
    pull("first")
    assert Path("first.txt").read_text() == "done\n"
    assert not reproduce("first", print, os.environ)
    monkeypatch.chdir(projects[2])  # whose dvc.lock knows nothing of it
    pull("first")
    assert not reproduce("first", print, {}, remote=True)
    assert Path("first.txt").read_text() == "done\n"
