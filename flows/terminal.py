"""How a flow ends on a terminal: with an exit code, and one line where it failed.

Prefect logs a failure with its traceback, once for the task and once for the flow. A failure that
says itself what to do needs neither.
"""

import errno
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType

import httpx
from prefect.exceptions import TerminationSignal

from diffusevae.errors import EnvironmentFailure, InputError
from tasks.dvc import StageFailure

OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
EXPECTED = (InputError, EnvironmentFailure, StageFailure)
SHOWN_ONCE = (*EXPECTED, httpx.TransportError)


def run_on_terminal(action: Callable[[], None]) -> int:
    """Do it and return the exit code: 0, the failure's own, 130 after Ctrl-C, 143 after SIGTERM."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_unexpected)
    signal.signal(signal.SIGTERM, _exit)  # Prefect passes it on when it has recorded the end
    try:
        action()
        return 0
    except EXPECTED as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        return _fail(f"{error.filename or 'disk'}: {error.strerror}; free disk space or mend the "
                     "folder's permissions", EnvironmentFailure.exit_code)  # fmt: skip
    except httpx.TransportError as error:
        url = error.request.url
        return _fail(f"Prefect's server at {url.host}:{url.port}: {error}; start it, or unset "
                     "PREFECT_API_URL; what was finished is kept",
                     EnvironmentFailure.exit_code)  # fmt: skip
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; what was finished is kept", 128 + signal.SIGINT)
    except (TerminationSignal, SystemExit):
        return _fail("stopped by SIGTERM; what was finished is kept", 128 + signal.SIGTERM)


def _fail(text: str, code: int) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return code


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], SHOWN_ONCE))


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
