"""What runs, in order.

Importing this package, before Prefect is imported, sets what Prefect should do by default: no
telemetry, its data in ./scratch, patience with a slow machine, no password in a log line. A
variable that is set already keeps its value, so a user's own server (PREFECT_API_URL) or folder
(PREFECT_HOME) is used.
"""

import contextlib
import os
from pathlib import Path

from diffusevae.disk import make_private
from diffusevae.errors import guard_output
from diffusevae.proxies import keep_loopback_direct

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
if "PREFECT_API_URL" not in os.environ:
    DEFAULTS["PREFECT_HOME"] = str(Path("scratch/prefect").absolute())

guard_output()
keep_loopback_direct()
for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)
if "PREFECT_HOME" in os.environ:  # Prefect makes the last folder only, and warns without it
    with contextlib.suppress(OSError):  # said in one line when something is written there
        make_private(Path("scratch"))
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
