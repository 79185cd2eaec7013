"""The import closure: what a module imports, by whatever way it is written, and nothing else."""

import subprocess
import sys
from pathlib import Path

from diffusevae.core.import_closure import SOURCE, import_closure

FILES = {
    "own/__init__.py": "",
    "own/start.py": "import own.plain\nfrom own.room import member\nfrom . import beside\n",
    "own/plain.py": "import os\n",
    "own/beside.py": "def later():\n    from .room.late import x\n",
    "own/room/__init__.py": "",
    "own/room/member.py": "from own.room.deep import value\n",
    "own/room/deep.py": "value = 1\n",
    "own/room/late.py": "from ..start import later\nx = 1\n",  # a cycle
    "own/room/unused.py": "",
    "own/other/__init__.py": "",
    "own/other/page.py": "",
}


def test_every_way_to_import_is_followed(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {str(path.relative_to(tmp_path)) for path in import_closure("own.start", tmp_path)}
    left_out = {"own/room/unused.py", "own/other/__init__.py", "own/other/page.py"}
    assert found == FILES.keys() - left_out


def test_what_python_imports_for_a_stage_is_in_it():
    """The other way round it need not be: some functions import only when they are called."""
    program = (
        "import sys, diffusevae.stages.sprites\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.split('.')[0] == 'diffusevae': print(module.__file__)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=SOURCE
    ).stdout
    imported = {Path(line).resolve() for line in said.split()}
    found = {path.resolve() for path in import_closure("diffusevae.stages.sprites")}
    assert len(imported) > 20 and not imported - found
