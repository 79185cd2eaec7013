"""Outputs whose bytes have changed: what DVC hands out is not always what it was given."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs import LocalFileSystem
from ruamel.yaml import YAML

from tasks.dvc.outputs import OBJECTS, discard, find_damaged, hash_output
from tests.support.checkouts import run_pipeline


@pytest.mark.parametrize("files", [{}, {"b": b"1"}, {"a/x": b"2", "a.b": b"3", "a/c/d": b""}])
def test_a_folder_s_hash_is_dvc_s(tmp_path, files):
    for name, content in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    (tmp_path / "out").mkdir(exist_ok=True)
    staging, _, built = build(
        HashFileDB(LocalFileSystem(), str(tmp_path / "cache")),
        str(tmp_path / "out"),
        LocalFileSystem(),
        "md5",
        dry_run=True,
    )
    assert hash_output(tmp_path / "out") == built.hash_info.value


def flip(path: Path) -> None:
    """Change one bit as a rotting disk does: neither mode, size nor time tell."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode & 0o777)
    subprocess.run(["touch", "-d", f"@{stat.st_mtime_ns / 1e9:.9f}", path], check=True)


def object_of(checkout: Path, md5: str) -> Path:
    return checkout / ".dvc/cache" / OBJECTS / md5[:2] / md5[2:]


@pytest.fixture
def project(tmp_path, monkeypatch) -> dict:
    """A project of DVC's with a stage that makes a file and a folder; the lock's content."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text(
        "stages:\n  make:\n    cmd: mkdir out; echo a >out/a; echo b >out/b; echo f >file\n"
        "    outs: [out, file]\n"
    )
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    return YAML(typ="safe").load(Path("dvc.lock"))


def test_what_is_whole_is_left_alone(project):
    assert find_damaged(project, ["make", "unknown"]) == []


@pytest.mark.parametrize("place", ["out/a", "file"])
@pytest.mark.fault("F11")
def test_a_flipped_bit_in_the_cache_is_found_and_its_object_goes(project, place):
    md5 = hash_output(Path(place))
    flip(object_of(Path(), md5))
    for out in (Path("out"), Path("file")):
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    done = subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q"])
    assert done.returncode == 0 and hash_output(Path(place)) != md5  # DVC sees nothing
    assert find_damaged(project, ["make"]) == ["make"]
    assert discard(project, "make") == [md5]
    assert not Path("out").exists() and not Path("file").exists()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    assert hash_output(Path(place)) == md5 and find_damaged(project, ["make"]) == []


@pytest.mark.fault("F11")
def test_a_damaged_listing_of_a_folder_goes_too(project):
    [md5] = [out["md5"] for out in project["stages"]["make"]["outs"] if out["path"] == "out"]
    flip(object_of(Path(), md5))
    Path("out/a").write_text("other\n")
    assert discard(project, "make") == [md5]


@pytest.mark.slow
@pytest.mark.fault("F11")
def test_the_flow_gets_anew_what_has_rotted_in_workspace_and_cache(
    smoke_checkout, prefect_server, tmp_path
):
    checkout = tmp_path / "checkout"
    shutil.copytree(smoke_checkout, checkout, symlinks=True)
    lock = YAML(typ="safe").load(checkout / "dvc.lock")["stages"]
    metrics = checkout / "artifacts/smoke/evaluate/metrics.json"
    figures = checkout / "artifacts/smoke/figures/generated.png"
    whole = metrics.read_bytes(), figures.read_bytes()
    pairs = checkout / "artifacts/smoke/sample/pairs.safetensors"
    sampled = hash_output(pairs)
    flip(metrics)
    flip(object_of(checkout, hash_output(figures)))
    shutil.rmtree(figures.parent)
    flip(object_of(checkout, sampled))
    pairs.unlink()
    done = run_pipeline(checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    for target in ("sample@smoke", "figures@smoke"):  # DVC itself finds the changed metrics
        assert f"{target}: its output is not what dvc.lock says" in done.stdout
    assert (metrics.read_bytes(), figures.read_bytes()) == whole
    assert hash_output(pairs) == sampled
    assert YAML(typ="safe").load(checkout / "dvc.lock")["stages"] == lock
