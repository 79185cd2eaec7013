"""DVC's command line, with four changes of ours.

    python -P tasks/dvc/command_line.py repro train_vae@smoke

What a stage was made from is hashed before it runs and again after it: DVC alone hashes it after
it, and so would take what changed meanwhile for what was read.

And dvc.lock is written in a fraction of the time. For every stage that ran, DVC reads and writes
the whole file in pure Python with what may stand between the lines, which takes seconds once many
experiments stand in it. Here only the stages that changed are written anew, by DVC's own writer;
the file's bytes are the same. What that saves is in docs/performance.md.

Params are parsed once as long as their file does not change, and found by their names: DVC parses
the file for every stage, and walks through all of it for every param.

For the status of stages that are named dvc.yaml and dvc.lock are read once, not once a stage.

All take the place of functions that DVC promises nobody, so this works with one version of DVC
alone, and says so to any other.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from diffusevae.core.disk import write_file
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.core.parent import PARENT_VARIABLE, end_with_parent

if TYPE_CHECKING:
    from dvc.stage import Stage

MADE_FOR = "3.67.1"  # as constraints.txt has it
HEAD = "schema: '2.0'\nstages:\n"
STAGE = re.compile(r"^(?=  \S)", re.MULTILINE)  # before the line that names it


def modify(path: str, fs: object = None) -> AbstractContextManager[dict]:
    """Stand in for DVC's `modify_yaml`: read a file, let the block change it, write it."""
    if Path(path).name == "dvc.lock" and Path(path).exists():
        text = Path(path).read_text()
        if text.startswith(HEAD):
            return _modify_lock(Path(path), text)
    from dvc.utils.serialize import modify_yaml

    return modify_yaml(path, fs=fs)


@contextmanager
def _modify_lock(path: Path, text: str) -> Iterator[dict]:
    from dvc.utils.serialize import dumps_yaml, parse_yaml

    content = parse_yaml(text, path)
    before = dict(content["stages"])
    yield content
    stages = content["stages"]
    written = dict(zip(before, STAGE.split(text.removeprefix(HEAD))[1:], strict=True))
    for name, stage in stages.items():
        if stage != before.get(name):
            written[name] = dumps_yaml({"stages": {name: stage}}).removeprefix("stages:\n")
    write_file(path, (HEAD + "".join(written[name] for name in stages)).encode())


def hash_deps(run: Callable) -> Callable:
    """Stand in for `Stage._run_stage`: note the hashes of what a stage reads, then run it.

    What has changed when it is done is said. The stage fails where that is data: what it made is of
    neither state. Of code and params it read the old ones when it began, so dvc.lock keeps those,
    and the next run makes the stage again.
    """

    def run_here(stage: "Stage", *arguments: object, **options: object) -> None:
        read = {}
        for dep in stage.deps:
            locked = (dep.hash_info, dep.meta)
            dep.save()
            read[dep] = (dep.hash_info, dep.meta)
            dep.hash_info, dep.meta = locked  # by which DVC tells whether its cache has the outputs
        run(stage, *arguments, **options)
        save_deps = stage.save_deps

        def save_what_was_read(allow_missing: bool = False) -> None:
            save_deps(allow_missing=allow_missing)
            for dep, (hash_info, meta) in read.items():
                if dep.hash_info != hash_info:
                    explain_change(stage, str(dep))
                    dep.hash_info, dep.meta = hash_info, meta

        stage.save_deps = save_what_was_read

    return run_here


def explain_change(stage: "Stage", path: str) -> None:
    """Say that a file changed while a stage was at work; raise DvcException where it is data."""
    from dvc.exceptions import DvcException

    what = f"{path}: changed while {stage.addressing} was at work"
    if path.startswith(("data/", "artifacts/")):
        raise DvcException(f"{what}; see that nothing else writes there, and run it again")
    print(f"warning: {what}, so the next run makes it again", flush=True)


def look_up_params(read: Callable) -> Callable:
    """Stand in for DVC's `read_param_file`: find {"a.b": value} for names in a YAML file."""
    from dvc.utils.serialize import parse_yaml

    parse = lru_cache(maxsize=1)(parse_yaml)  # by its text, which may change while a stage runs

    def read_here(
        fs: object,
        path: str,
        key_paths: list[str] | None = None,
        flatten: bool = False,
        **options: object,
    ) -> dict:
        if not key_paths or not flatten or Path(path).suffix != ".yaml":
            return read(fs, path, key_paths, flatten, **options)
        content = parse(Path(path).read_text(encoding="utf-8"), path)
        found: dict[str, object] = {}
        for name in key_paths:
            try:
                value = content
                for part in name.split("."):
                    value = value[part]
            except (KeyError, TypeError):  # missing, or a pattern or number: DVC's to say
                found |= read(fs, path, [name], flatten, **options)
            else:
                found[name] = deepcopy(value)
        return found

    return read_here


def main(arguments: list[str]) -> int:
    """Be DVC, with our changes; return the exit code."""
    try:
        _require_version()
        end_with_parent(signal.SIGTERM)
    except EnvironmentFailure as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return error.exit_code
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    import dvc.cli  # only now: it takes a second
    import dvc.dependency.param
    import dvc.dvcfile
    from dvc.stage import Stage

    dvc.dvcfile.modify_yaml = modify
    dvc.dependency.param.read_param_file = look_up_params(dvc.dependency.param.read_param_file)
    if arguments[:1] == ["status"]:  # which changes nothing
        dvc.dvcfile.load_file = cache(dvc.dvcfile.load_file)
    Stage._run_stage = hash_deps(Stage._run_stage)
    return dvc.cli.main(arguments)


def _require_version() -> None:
    """Raise EnvironmentFailure unless DVC is the one whose function is stood in for."""
    if (found := version("dvc")) != MADE_FOR:
        raise EnvironmentFailure(
            f"DVC {found} is installed, but dvc.lock is written for DVC {MADE_FOR}; "
            f"run `make setup`, or measure and move both to {found} (tasks/dvc/command_line.py)"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
