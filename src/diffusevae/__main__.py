"""The command `diffusevae`: finds the checkout and hands over to the command line that is in it.

diffusevae --help        (python -m diffusevae, where no script is installed)
"""

import importlib
import os
import sys
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure, Failure, guard_output

MARKS = ("dvc.yaml", "params.yaml")  # of a checkout
MEND = "run `make setup` in the checkout, then its .venv/bin/diffusevae"
COMPLETING = "_DIFFUSEVAE_COMPLETE"  # a shell asks what could come next


def main() -> int:
    """Do what the command line says, in the checkout's root; return the exit code."""
    guard_output()
    try:
        start = _find_here()
        root = find_checkout(start)
        require_own_code(root)
        os.chdir(root)
        sys.path.insert(0, str(root))
        line = importlib.import_module("command.line")  # by name: the library knows nothing above
        return line.main(sys.argv[1:], start)
    except Failure as error:
        if COMPLETING not in os.environ:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {error.name}: is not installed; {MEND}", file=sys.stderr)
        return EnvironmentFailure.exit_code


def _find_here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise EnvironmentFailure("this folder: is gone; change to another") from error


def find_checkout(start: Path) -> Path:
    """Return the nearest checkout: this folder or one around it. Raises EnvironmentFailure."""
    for folder in (start, *start.parents):
        if all((folder / name).is_file() for name in MARKS):
            return folder
    raise EnvironmentFailure(
        f"{start}: neither this folder nor one around it is a checkout (which has "
        f"{' and '.join(MARKS)}); change to one"
    )


def require_own_code(root: Path) -> None:
    """Raise EnvironmentFailure where this is the library of another checkout, or an installed one.

    Its stages would be the other's, of which dvc.lock knows nothing.
    """
    own, running = root / "src/diffusevae", Path(__file__).parent
    if own.is_dir() and not own.samefile(running):
        raise EnvironmentFailure(f"{running}: is not the code of {root}; {MEND}")


if __name__ == "__main__":
    sys.exit(main())
