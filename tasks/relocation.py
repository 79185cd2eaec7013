"""Frees .venv of its own path, so that the checkout may be moved, renamed or copied.

    .venv/bin/python tasks/relocation.py    (after pip; of the standard library alone)

pip writes absolute paths into its scripts and into the link to this checkout's code.
"""

import re
import sys
import sysconfig
from pathlib import Path

SOURCES = Path("../../../../src")  # of site-packages; Python resolves it from there
# pip's, with the interpreter's path plainly or, where that has a space, by way of sh.
HEAD = re.compile(rb"\A#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*/\.venv/bin/python[\d.]*)\n")
OWN_HEAD = b"""#!/bin/sh
'''exec' "$(dirname "$(readlink -f "$0")")/python" "$0" "$@"
' '''
"""
PLACE = re.compile(r"^VIRTUAL_ENV=(?!\$).*$", re.MULTILINE)
OWN_PLACE = 'VIRTUAL_ENV="$(cd "$(dirname "${BASH_SOURCE:-$0}")/.." && pwd)"'


def relocate(folder: Path) -> None:
    """Let the scripts, `activate` and the link to ./src find the environment where they lie."""
    for path in (folder / "bin").iterdir():
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if path.name == "activate":
                made = PLACE.sub(lambda _: OWN_PLACE, content.decode()).encode()
            else:
                made = HEAD.sub(lambda _: OWN_HEAD, content)
            if made != content:
                path.write_bytes(made)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for path in packages.glob("__editable__.diffusevae-*.pth"):
        path.write_text(f"{SOURCES}\n")


if __name__ == "__main__":
    relocate(Path(sys.prefix))
