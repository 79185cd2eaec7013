"""How a command ends: with an exit code, and one line that says why where it did not succeed."""

import errno
import signal
import sys
from collections.abc import Callable

from diffusevae.core import interruption
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.parent import keep_writing

OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def run_command(action: Callable[[], None]) -> int:
    """Do it; return 0, 2 (bad input), 3 (environment) or 128 + a signal's number.

    Any other than 0 comes after one line that says why. A reader that goes away ends nothing.
    """
    keep_writing()
    try:
        action()
        return 0
    except interruption.Stopped as stop:
        print(f"error: {stop}", file=sys.stderr, flush=True)
        return stop.code
    except KeyboardInterrupt:
        print("error: stopped by Ctrl-C", file=sys.stderr, flush=True)
        return 128 + signal.SIGINT
    except (InputError, EnvironmentFailure) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        explained = explain_machine_error(error)
        if explained is None:
            raise
        print(f"error: {explained}", file=sys.stderr, flush=True)
        return explained.exit_code


def explain_machine_error(error: OSError) -> EnvironmentFailure | None:
    """Return what the user of this machine can mend as one line; None for any other error."""
    if error.errno in IN_THE_WAY:
        return EnvironmentFailure(
            f"{error.filename}: {error.strerror}; move away what stands in its place"
        )
    if error.errno not in OF_THE_MACHINE:
        return None
    return EnvironmentFailure(
        f"{error.filename or 'disk'}: {error.strerror}; free disk space or "
        "mend the folder's permissions"
    )
