"""A registered version that was made with other code than runs here: it runs in its own process."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_tensors, save_tensors
from diffusevae.metrics.promotion import Made
from diffusevae.registered.own_code import PACKAGE, hash_code, running_package

WORKER = Path(__file__).with_name("version_worker.py")


def describe_code(model: Path, tags: Mapping[str, str]) -> str:
    """Return which code a version in a folder brings, and what packages it asks for in vain.

    Empty where its code is the code that runs here.
    """
    own = hash_code(model / PACKAGE)
    if own == hash_code(running_package()):
        return ""
    commit, dirty, _ = tags.get("git_commit", "").partition("-dirty")
    changed = " and changes to it" if dirty else ""
    place = f"commit {commit[:12]}{changed}" if commit else f"hash {own[:12]}"
    others = [f"; it asks for {name}" for name in find_other_packages(model / "requirements.txt")]
    return f"its own code, {place}{''.join(others)}"


def find_other_packages(requirements: Path) -> Iterator[str]:
    """Yield "torch==2.12.0, here it is 2.13.0" for each line that is not met here."""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        wanted = Requirement(line)
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted}, which is missing here"
        else:
            if not wanted.specifier.contains(found, prereleases=True):
                yield f"{wanted}, here it is {found}"


def make_apart(model: Path, what: str, images: Tensor, seed: int) -> Made:
    """Return what a version makes, with its own code, of uint8 images (N x C x H x W), and as many
    new ones.

    Raises InputError, naming `what`, where its code fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = (Path(folder) / name for name in ("given", "made"))
        save_tensors(given, {"images": images})
        done = subprocess.run(
            [sys.executable, "-P", WORKER, model, given, str(seed), made],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise InputError(f"{what}: cannot be judged: its own code fails here: {reason[:300]}")
        tensors = load_tensors(made)
    return Made(tensors["refined"], tensors["generated"])
