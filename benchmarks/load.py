"""What much use does: many clients of the served model, a full MLflow store, many files.

In a clone of the checkout's last commit, in which the flow `smoke` has run: nothing of the user's
is touched. Clients send eight images each and ask again as soon as they are answered.
"""

import base64
import json
import netrc
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.measure import Ratios, Spread, divide, show_table
from benchmarks.overhead import EXPERIMENT, TURNS, clone, run, variables_for
from benchmarks.setting import Setting
from diffusevae.core.tensor_file import load_tensors

CLIENTS = 32
SECONDS = 300
IMAGES_PER_REQUEST = 8
RUNS, VERSIONS = 1000, 200
FILES = 100_000
MEGABYTE = 2**20


@dataclass
class Answers:
    """What the clients saw: seconds of each answer, by status what was no answer; the memory."""

    seconds: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)


def measure(setting: Setting) -> Ratios:
    """Print and return what the server takes and gives, and what full stores and folders cost."""
    with clone() as checkout:
        run(checkout, "-m", "flows", EXPERIMENT)
        return {
            **measure_server(checkout, CLIENTS, SECONDS),
            **measure_store(checkout, RUNS, VERSIONS, min(TURNS, setting.repeats)),
            **measure_folder(checkout, FILES),
        }


def measure_server(checkout: Path, clients: int, seconds: float) -> Ratios:
    """Ask the served champion from so many clients at once for some seconds."""
    pairs = load_tensors(checkout / f"artifacts/{EXPERIMENT}/sample/pairs.safetensors")
    body = json.dumps({"inputs": pairs["real"][:IMAGES_PER_REQUEST].tolist()}).encode()
    with serve(checkout) as (address, server):
        request = make_request(checkout, address, body)
        ask(request)  # the first one loads what is loaded late
        before = memory_of(server)
        answers, end = Answers(memory=[before]), time.monotonic() + seconds
        threads = [
            threading.Thread(target=ask_until, args=(request, end, answers)) for _ in range(clients)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            time.sleep(1)
            answers.memory.append(memory_of(server))
        for thread in threads:
            thread.join()
    late = statistics.quantiles(answers.seconds, n=20)[-1]
    show_table(
        f"Served model, {clients} clients, {seconds:.0f} s, {IMAGES_PER_REQUEST} images a request",
        [
            ("answers", len(answers.seconds)),
            ("refused, by status", answers.refused or "none"),
            ("seconds of an answer", Spread.of(answers.seconds)),
            ("95 % within, s", f"{late:.3g}"),
            ("memory before, MB", f"{before:.0f}"),
            ("memory at most, MB", f"{max(answers.memory):.0f}"),
        ],
    )
    return {
        "served_seconds": Spread.of(answers.seconds),
        "served_memory_under_load": divide([max(answers.memory)], [before]),
    }


@contextmanager
def serve(checkout: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Serve the champion for the time of the block; yield its address and process."""
    from flows.prefect_server import free_port  # Prefect takes a second to import

    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.serve", EXPERIMENT, str(port)],
        cwd=checkout,
        env=variables_for(checkout),
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{address}/ping", timeout=5):
                break
            time.sleep(0.3)
        yield address, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def make_request(checkout: Path, address: str, body: bytes) -> urllib.request.Request:
    """Return a request with the login that the server asks for."""
    user, _, password = netrc.netrc(checkout / "mlflow/netrc").authenticators("127.0.0.1")
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
    return urllib.request.Request(f"{address}/invocations", body, headers)


def ask(request: urllib.request.Request) -> None:
    """Send one request and read the answer. Raises OSError."""
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        answer.read()


def ask_until(request: urllib.request.Request, end: float, answers: Answers) -> None:
    """Ask again and again until the clock says so."""
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            ask(request)
            answers.seconds.append(time.monotonic() - start)
        except urllib.error.HTTPError as error:
            answers.refused[error.code] = answers.refused.get(error.code, 0) + 1
            time.sleep(0.1)


def memory_of(process: psutil.Process) -> float:
    """Return the megabytes that a process holds."""
    return process.memory_info().rss / MEGABYTE


def measure_store(checkout: Path, runs: int, versions: int, turns: int) -> Ratios:
    """Time a rerun with nothing to do, before and after so many runs and versions are added."""

    def rerun() -> float:
        return run(checkout, "-m", "flows", EXPERIMENT)[0]

    rerun()
    empty = [rerun() for _ in range(turns)]
    run(checkout, "-m", "benchmarks.load", str(runs), str(versions))
    full = [rerun() for _ in range(turns)]
    show_table(
        f"Rerun with nothing to do (n = {turns})",
        [
            ("", "s"),
            ("one run, one version", Spread.of(empty)),
            (f"{runs} runs, {versions} versions more", Spread.of(full)),
        ],
    )
    return {"rerun_with_a_full_store_vs_empty": divide(full, empty)}


def fill_store(runs: int, versions: int) -> None:
    """Add runs to the experiment and versions to its model, copies of those that are there."""
    from diffusevae.tracking.mlflow_store import connect, experiment_id

    client = connect()
    group = experiment_id(client, EXPERIMENT)
    for number in range(runs):
        run_id = client.create_run(group, tags={"number": str(number)}).info.run_id
        client.log_metric(run_id, "ssim", number / runs)
        client.set_terminated(run_id)
    name = f"diffusevae-{EXPERIMENT}"
    [first] = client.search_model_versions(f"name = '{name}'")
    for _ in range(versions):
        others = {
            key: "0" if key.endswith("sha256") else value for key, value in first.tags.items()
        }
        client.create_model_version(name, first.source, first.run_id, tags=others)


def measure_folder(checkout: Path, files: int) -> Ratios:
    """Prepare a folder of so many small pictures; return memory and seconds."""
    folder = checkout / "data/raw/many"
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        (folder / kind).mkdir(parents=True)
        for number in range(files // 2):
            pixels = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png", compress_level=1)
    yaml = YAML()
    params = yaml.load(checkout / "params.yaml")
    params["datasets"]["many"] = params["datasets"]["mnist_tiny"]
    params["datasets"]["many"]["images"]["source"] = "many"
    params["datasets"]["many"]["images"]["train_images"] = None
    yaml.dump(params, checkout / "params.yaml")
    start = time.perf_counter()
    command = "-m diffusevae.stages prepare many --raw data/raw/many --out data/prepared/many"
    process = subprocess.Popen(
        [sys.executable, *command.split()], cwd=checkout, env=variables_for(checkout)
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"prepare of {files} pictures ended with {process.returncode}")
    seconds, memory = time.perf_counter() - start, usage.ru_maxrss / 1024
    show_table(
        f"A folder of {files} pictures of 28 x 28",
        [("seconds", f"{seconds:.0f}"), ("memory at most, MB", f"{memory:.0f}")],
    )
    return {
        "prepare_many_pictures_seconds": Spread.of([seconds]),
        "prepare_many_pictures_megabytes": Spread.of([memory]),
    }


if __name__ == "__main__":
    fill_store(*map(int, sys.argv[1:]))
