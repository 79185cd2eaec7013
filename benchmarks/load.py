"""What much use does: many clients of the served model, a full MLflow store, many files.

In a clone of the checkout's last commit, in which the flow `smoke` has run. Clients send eight
images each and ask again as soon as they are answered.
"""

import base64
import copy
import json
import netrc
import re
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
from diffusevae.experiments.experiment import Experiment
from tasks.probe.trial_checkout import read_command, run_command

CLIENTS = 32
SECONDS = 300
IMAGES_PER_REQUEST = 8
RUNS, VERSIONS = 1000, 200
FILES = 100_000
MANY = "many"  # the folder of pictures, the data set and the experiment
TRIED = ("prepare", "tune_vae", "train_vae")  # the stages, the second giving the third its params
MEGABYTE = 1e6


@dataclass
class Answers:
    """What the clients saw: seconds of each answer, by status what was no answer; the memory."""

    seconds: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)


def measure(setting: Setting) -> Ratios:
    """Print and return what the server takes and gives, and what full stores and folders cost."""
    with clone() as checkout:
        run(checkout, "-m", "diffusevae", "run", EXPERIMENT)
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
        ask(request)  # which loads what is loaded late
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
        [sys.executable, "-m", "diffusevae", "serve", EXPERIMENT, "--port", str(port)],
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
        return run(checkout, "-m", "diffusevae", "run", EXPERIMENT)[0]

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
    """Plan an experiment on a folder of so many pictures, and run its first stages."""
    experiment = make_pictures(checkout, files)
    told = read_plan(run(checkout, "-m", "diffusevae", "plan", experiment.name)[1])
    taken = {target: take(checkout, experiment, target) for target in list_tried(experiment)}
    rows = [
        (target, f"{seconds:.0f}", f"{memory:.0f}", f"{told[target]:.0f}")
        for target, (seconds, memory) in taken.items()
    ]
    head = ("", "s", "memory at most, MB", "told by plan, MB")
    show_table(f"A folder of {files} pictures of 28 x 28 (n = 1)", [head, *rows])
    shares = [memory / told[target] for target, (_, memory) in taken.items()]
    return {"memory_of_many_pictures_vs_plan": Spread.of(shares)}


def make_pictures(checkout: Path, files: int) -> Experiment:
    """Write so many pictures and an experiment on them; return it."""
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        folder = checkout / "data/raw" / MANY / kind
        folder.mkdir(parents=True)
        for number in range(files // 2):
            pixels = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
    yaml = YAML()
    params = yaml.load(checkout / "params.yaml")
    params["datasets"][MANY] = copy.deepcopy(params["datasets"]["mnist_tiny"])
    params["datasets"][MANY]["images"] |= {"source": MANY, "train_images": None}
    params["experiments"][MANY] = copy.deepcopy(params["experiments"][EXPERIMENT])
    params["experiments"][MANY]["dataset"] = MANY
    yaml.dump(params, checkout / "params.yaml")
    return Experiment(MANY, MANY, MANY)


def list_tried(experiment: Experiment) -> list[str]:
    """Return the targets that are run."""
    return [target for target in experiment.targets if target.split("@")[0] in TRIED]


def take(checkout: Path, experiment: Experiment, target: str) -> tuple[float, float]:
    """Run a target there; return its seconds, and the megabytes that it held at most."""
    command, _ = read_command(experiment, target)
    seconds, memory = run_command(checkout, target, command, lambda line: None)
    return seconds, memory / MEGABYTE


def read_plan(said: str) -> dict[str, float]:
    """Return the megabytes of memory that a plan tells of each target."""
    rows = re.findall(r"^(\w+@\w+) .* ([\d.]+) +\S+$", said, re.M)
    return {target: float(memory) for target, memory in rows}


if __name__ == "__main__":
    fill_store(*map(int, sys.argv[1:]))
