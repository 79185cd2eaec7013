"""What runs, in order.

Importing this package, before Prefect is imported, sets what Prefect should do by default: no
telemetry, its data in ./scratch, patience with a slow machine, no password in a log line. A
variable that is set already keeps its value, so a user's own server (PREFECT_API_URL) or folder
(PREFECT_HOME) is used.
"""

import contextlib
import os
import sys
from pathlib import Path

from diffusevae.core.address import is_http
from diffusevae.core.disk import make_private
from diffusevae.core.errors import InputError, guard_output
from diffusevae.core.proxies import keep_loopback_direct

DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # A server that went away is waited for 20 s at every call, not 70.
    "PREFECT_CLIENT_MAX_RETRIES": "3",
    # Only what runs say is shown; the temporary server's own comings and goings are not.
    "PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
}
if not os.environ.get("PREFECT_API_URL"):
    os.environ.pop("PREFECT_API_URL", None)  # an empty one would be asked for a server
    DEFAULTS["PREFECT_HOME"] = str(Path("scratch/prefect").absolute())

if not is_http(os.environ.get("PREFECT_API_URL", "http://unset")):
    # Some of these end the import of Prefect, so nobody could say it later.
    print(
        "error: PREFECT_API_URL: is no address of a server; write http://HOST:PORT/api, or unset "
        "it",
        file=sys.stderr,
    )
    sys.exit(InputError.exit_code)
guard_output()
keep_loopback_direct()
for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)
if "PREFECT_HOME" in os.environ:  # Prefect makes the last folder only, and warns without it
    with contextlib.suppress(OSError):  # said in one line when something is written there
        make_private(Path("scratch"))
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
