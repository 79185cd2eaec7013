"""Which code a stage imports, directly or through others: files, and the packages they lie in."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "diffusevae"


def import_closure(stage: str) -> list[str]:
    """Return the package's files that `stages/<stage>.py` needs, itself included, sorted.

    Templates count: a module that names an existing file "x.html" beside it depends on it.
    """
    found: set[Path] = set()
    waiting = [PACKAGE / "stages" / f"{stage}.py"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [] if path.suffix != ".py" else _needed_by(path)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def imported_packages(stage: str) -> list[str]:
    """Return what a stage's deps say of its code: `stages/<stage>.py` and folders, sorted.

    A folder of src/diffusevae is one package; those in latents are each its own.
    """
    return sorted({_package_of(Path(file)) for file in import_closure(stage)})


def _package_of(file: Path) -> str:
    place = file.relative_to("src/diffusevae").parts
    if place[0] == "stages":
        return str(file)
    depth = 2 if place[0] == "latents" else 1
    return str(Path("src/diffusevae", *place[:depth]))


def _needed_by(path: Path) -> list[Path]:
    needed = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and str(node.value).endswith(".html"):
            template = path.with_name(str(node.value))
            needed += [template] if template.is_file() else []
            continue
        else:
            continue
        parts = [name.split(".") for name in names if name.split(".")[0] == "diffusevae"]
        files = [PACKAGE.joinpath(*part[1:]).with_suffix(".py") for part in parts if part[1:]]
        needed += [file for file in files if file.is_file()]
    return needed
