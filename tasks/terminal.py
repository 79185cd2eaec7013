"""How a flow ends on a terminal: with an exit code, and one line where it failed.

Prefect logs a failure with its traceback, once for the task and once for the flow. A failure that
says itself what to do needs neither.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from prefect.exceptions import TerminationSignal

from diffusevae.core import interruption
from diffusevae.core.command import explain_machine_error
from diffusevae.core.errors import EnvironmentFailure, Failure, hide_passwords
from diffusevae.core.parent import keep_writing

if TYPE_CHECKING:  # imported where used: seconds
    from tasks.registry.registration import Registered


# Ctrl-C stays Python's own, which Prefect and the servers know.
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
KEPT = "what was finished is kept"


def run_on_terminal(action: Callable[[], None]) -> int:
    """Do it and return the exit code: 0, the failure's own, or 128 + the number of a signal.

    A terminal or reader that goes away ends only what is shown there.
    """
    keep_writing()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_no_explained_failure)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each try of a connection
    interruption.watch(ENDINGS)  # Prefect passes SIGTERM on when it has recorded the end
    try:
        action()
        return 0
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        return _fail(str(explained), explained.exit_code)
    except KeyboardInterrupt:
        return _fail(f"stopped by Ctrl-C; {KEPT}", 128 + signal.SIGINT)
    except interruption.Stopped as stop:
        return _fail(f"stopped by {stop.name}; {KEPT}", stop.code)
    except TerminationSignal:
        return _fail(f"stopped by SIGTERM; {KEPT}", 128 + signal.SIGTERM)


def show_outcome(report: Path, model: "Registered") -> None:
    """Print where the report, MLflow's pages and the registered model are."""
    address = hide_passwords(os.environ["MLFLOW_TRACKING_URI"])  # set by now: the run has used it
    local = "`diffusevae mlflow`, then http://127.0.0.1:5000"
    print(f"report  {report}")
    print(f"MLflow  {address if address.startswith('http') else local}")
    print(f"model   {model.name}, version {model.version}", flush=True)


def _fail(text: str, code: int) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return code


def _explain(error: BaseException | None) -> Failure | None:
    """Return the failure that says in one line what to do, or None where there is no such line."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, OSError) and (explained := explain_machine_error(error)):
        return explained
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401:
        return EnvironmentFailure(
            "Prefect's server: the login is refused; set "
            "PREFECT_API_AUTH_STRING to its USER:PASSWORD"
        )
    if isinstance(error, httpx.HTTPError) or "Failed to reach API" in str(error):
        return EnvironmentFailure(
            f"Prefect's server: {error}; start it, or unset PREFECT_API_URL; {KEPT}"
        )
    return None


def _is_no_explained_failure(record: logging.LogRecord) -> bool:
    return not record.exc_info or _explain(record.exc_info[1]) is None
