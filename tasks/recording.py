"""The stages' own runs, written to MLflow by this process: it has imported MLflow already."""

import socketserver
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from diffusevae.recorder import record


class _Stage(socketserver.StreamRequestHandler):
    """One stage that records; it waits until this end of its socket is closed."""

    def handle(self) -> None:
        record(self.rfile)


@contextmanager
def serve_recorder() -> Iterator[str]:
    """Yield the address of a socket, for this user only, to which one stage at a time records."""
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
