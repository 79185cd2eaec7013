"""Which files of a package a module imports, directly or through others.

They are read from the source, not from sys.modules: that holds what the process has imported so
far, for whatever reason, and lacks what a function imports when it is called.
"""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

SOURCE = Path(__file__).parents[2]  # the folder that the package lies in


def import_closure(module: str, source: Path = SOURCE) -> list[Path]:
    """Return the files that a module such as diffusevae.stages.train_vae needs, its own included.

    Those are modules in the folder `source`, with the __init__.py of each package on the way.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files_of(waiting.pop(), source) - found:
            found.add(path)
            waiting += _imported_by(path, source)
    return sorted(found)


def _files_of(name: str, source: Path) -> set[Path]:
    """Return the files of a module, or of the one that a name is a member of, and its packages'."""
    places = [source]
    for part in name.split("."):
        places.append(places[-1] / part)
    files = [
        file for place in places[1:] for file in (place.with_suffix(".py"), place / "__init__.py")
    ]
    return {file for file in files if file.is_file()}


def _imported_by(path: Path, source: Path) -> Iterator[str]:
    """Yield the names that a file imports; a module's member is one, too."""
    package = ".".join(path.parent.relative_to(source).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)
