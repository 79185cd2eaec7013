"""Which code a stage imports, directly or through others: files, and the packages they lie in."""

from pathlib import Path

from diffusevae.core.import_closure import SOURCE, import_closure

ROOT = SOURCE.parent
# Docstrings, and a setting that says how threads wait.
UNWATCHED = {
    f"src/diffusevae/{folder}__init__.py" for folder in ("", "stages/", "latents/", "studies/")
}


def imported_files(stage: str) -> list[str]:
    """Return the package's files that `stages/<stage>.py` needs, itself included, sorted."""
    files = import_closure(f"diffusevae.stages.{stage}")
    return sorted({str(file.relative_to(ROOT)) for file in files} - UNWATCHED)


def imported_packages(stage: str) -> list[str]:
    """Return what a stage's deps say of its code: `stages/<stage>.py` and folders, sorted.

    A folder of src/diffusevae is one package; those in latents and studies are each its own.
    """
    return sorted({_package_of(Path(file)) for file in imported_files(stage)})


def _package_of(file: Path) -> str:
    place = file.relative_to("src/diffusevae").parts
    if place[0] == "stages":
        return str(file)
    depth = 2 if place[0] in ("latents", "studies") else 1
    return str(Path("src/diffusevae", *place[:depth]))
