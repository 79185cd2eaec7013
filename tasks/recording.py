"""The stages' own runs, written to MLflow by this process: it has imported MLflow already."""

import socketserver
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from diffusevae.core.errors import EnvironmentFailure
from diffusevae.tracking.journal import count_unsent
from diffusevae.tracking.recorder import record
from diffusevae.tracking.sender import send_unsent


class _Stage(socketserver.StreamRequestHandler):
    """One stage that records; it waits until this end of its socket is closed."""

    def handle(self) -> None:
        record(self.rfile)


@contextmanager
def serve_recorder() -> Iterator[str]:
    """Yield the address of a socket, for this user only, to which one stage at a time records.

    What MLflow did not take until the stages' ends is tried once more at the end of all.
    """
    with tempfile.TemporaryDirectory(prefix="diffusevae-") as folder:
        address = str(Path(folder) / "recorder")
        with socketserver.UnixStreamServer(address, _Stage) as server:
            thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield address
            finally:
                server.shutdown()
                thread.join()
                send_unsent()


def send() -> None:
    """Send what was kept while MLflow did not answer. Raises EnvironmentFailure where it fails."""
    if count_unsent()[0] == 0:
        print("nothing is left to send")
    elif not send_unsent():
        raise EnvironmentFailure(
            "MLflow: did not take all that was kept; start it, then run this again"
        )
    if others := count_unsent()[1]:
        print(f"{others} kept for another MLFLOW_TRACKING_URI")
