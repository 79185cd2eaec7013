"""Why DVC or a stage ended as it did, in one line."""

import re
import signal
from collections.abc import Iterable
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure, Failure, InputError

RWLOCK = Path(".dvc/tmp/rwlock")


class StageFailure(Failure):
    """A stage ended with an error of its own, shown in its output. Exit code 1."""

    exit_code = 1


def explain_end(target: str, code: int, output: Iterable[str]) -> Exception:
    """Return the exception that says in one line why DVC or its stage failed."""
    lines = [line.strip() for line in output if line.strip()]
    stage_code = next(
        (
            int(found[1])
            for line in reversed(lines)
            if (found := re.search(r"exited with (-?\d+)$", line))
        ),
        None,
    )
    if stage_code is not None:
        return explain_stage(target, stage_code, lines)
    said = next(
        (line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")),
        lines[-1] if lines else f"exit code {code}",
    )
    if "is busy" in said or "Unable to acquire lock" in said:
        holders = " ".join(line for line in lines if line.startswith("(PID"))
        return EnvironmentFailure(
            f"dvc {target}: another DVC is at work in this folder "
            f"{holders}; wait for its end, or stop it"
        )
    if "RWLock-file" in said:
        return EnvironmentFailure(
            f"dvc {target}: its lock {RWLOCK} is damaged; remove that file "
            "if no DVC is running here"
        )
    return EnvironmentFailure(f"dvc {target}: {said}; `dvc repro {target}` shows more")


def explain_stage(target: str, code: int, lines: list[str]) -> Exception:
    """Return the exception that says in one line why a stage ended with an exit code."""
    said = next(
        (line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")),
        None,
    )
    for kind in (InputError, EnvironmentFailure):
        if code == kind.exit_code and said:
            return kind(said)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return EnvironmentFailure(
            f"{target}: was killed from outside, as happens when memory runs "
            "out; free memory, lower batch_size, or raise the optimiser's accumulate"
        )
    return StageFailure(f"{target}: ended with exit code {code}; its output above says why")
