"""Stands in for the library where `python` is an interpreter that does not know it.

`dvc repro` in a shell in which .venv is not activated runs `python -m diffusevae.stages` with
another Python, and that finds this folder: one without __init__.py comes after any real package of
its name. The stage then runs with .venv's Python; without one, a line says what to do.
"""

import os
import sys

PYTHON = ".venv/bin/python"

if __name__ == "__main__":
    if not os.access(PYTHON, os.X_OK) or os.environ.get("DIFFUSEVAE_STOOD_IN"):
        sys.stderr.write(
            "error: %s: does not know diffusevae; run `make setup`, then "
            "`source .venv/bin/activate`\n" % (sys.executable or "python")
        )
        sys.exit(3)
    os.environ["DIFFUSEVAE_STOOD_IN"] = "1"  # that one may not know it either
    # What a stage itself starts as `python` is found there, too.
    folder = os.path.dirname(os.path.abspath(PYTHON))
    os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", os.defpath)
    os.execv(PYTHON, [PYTHON, "-m", "diffusevae.stages"] + sys.argv[1:])
