"""Anything at all where the product reads: it is taken, or refused in one line, soon and in little.

FUZZ_INPUTS=100000 tries so many inputs, drawn anew in each run; without it a few thousand, always
the same ones.
"""

import copy
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from diffusevae.core.errors import Failure
from diffusevae.core.tensor_file import load_config, load_tensors, save_tensors
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.array_file import read_array_file
from diffusevae.data.idx import read_idx
from diffusevae.data.image_file import read_square
from diffusevae.data.label_file import label_images
from diffusevae.experiments.params_file import ROOTS, check_params
from diffusevae.metrics.measured import read_metrics
from diffusevae.models.vae import load_vae
from diffusevae.tracking.journal import Journal
from diffusevae.tuning.search_space import apply_best
from flows.serve import make_app
from tests.support.checkouts import ROOT
from tests.support.toy_artifacts import make_metrics
from tests.support.toy_registry import register_toy
from tests.support.toy_trainings import make_optimiser

KINDS = 11  # of inputs below, which share their number
FEW = 2700
INPUTS = int(os.environ.get("FUZZ_INPUTS", FEW))
MOST_BYTES = 10**9  # by which this process may grow
HANG_SECONDS = 5
LONGEST = 4000  # characters of a line
fuzz = settings(
    max_examples=-(-INPUTS // KINDS),
    deadline=None,  # see try_it
    derandomize=INPUTS <= FEW,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
YAML = "ab:-[]{}&*!|>#'\"% \n\t0123456789.eE~?,<_\0\ufeff"


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """What this process takes at most grows by less than MOST_BYTES."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_BYTES


def try_it(use: Callable[[], object]) -> None:
    """Raise AssertionError where what is refused is not one line, or takes too long.

    What is no refusal is raised. The time is this process's own: others make none longer.
    """
    start = time.process_time()
    try:
        use()
    except Failure as failure:
        assert len(str(failure).splitlines()) == 1 and len(str(failure)) < LONGEST, str(failure)
    assert time.process_time() - start < HANG_SECONDS


def mutants(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a file with a few changes anywhere: cut, something put in, put over, taken out."""
    edits = st.tuples(
        st.integers(0, len(content)),
        st.sampled_from(["cut", "insert", "replace", "delete"]),
        st.binary(max_size=8) | st.sampled_from([b"[" * 5000, b"9" * 5000, b"\xff" * 8]),
    )

    def apply(edits: list) -> bytes:
        changed = content
        for at, how, put in edits:
            end = {"cut": len(changed), "insert": at}.get(how, at + len(put))
            changed = changed[:at] + (b"" if how in ("cut", "delete") else put) + changed[end:]
        return changed

    return st.lists(edits, max_size=4).map(apply) | st.binary(max_size=200)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 0, 2**31, 2**63, 1e308, -0.0, 1e-320])
    | st.floats()
    | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | scalars, inner)
    ),
    max_leaves=8,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def places(value: object, place: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every value below one."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield (*place, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*place, key))


def change(content: dict, changes: list[tuple]) -> dict:
    """Return a copy in which values are replaced, taken out, or put under another name."""
    changed = copy.deepcopy(content)
    for way, how, value in changes:
        with suppress(KeyError, IndexError, TypeError, AttributeError):  # gone by another change
            inner = changed
            for key in way[:-1]:
                inner = inner[key]
            if how == "replace":
                inner[way[-1]] = value
            elif how == "delete":
                del inner[way[-1]]
            else:
                inner[str(value)] = inner.pop(way[-1])
    return changed


def changes_of(content: dict, values: st.SearchStrategy) -> st.SearchStrategy[list]:
    """Return a few changes of a mapping."""
    hows = st.sampled_from(["replace", "replace", "delete", "rename"])
    ways = st.sampled_from(list(places(content)))
    return st.lists(st.tuples(ways, hows, values), min_size=1, max_size=3)


WHOLE = read_yaml(ROOT / "params.yaml")
PARAMS = {
    **WHOLE,
    "experiments": {"smoke": WHOLE["experiments"]["smoke"]},
    "datasets": {
        name: value
        for name, value in WHOLE["datasets"].items()
        if name == WHOLE["experiments"]["smoke"]["dataset"]
    },
}
PARAMS.pop("latent_studies", None)
check_params(Path("params.yaml"), PARAMS, ROOTS[:2])  # imports what says how sections look


@given(changes=changes_of(PARAMS, values))
@fuzz
def test_B3_any_params(changes):
    try_it(lambda: check_params(Path("params.yaml"), change(PARAMS, changes), ROOTS[:2]))


@given(content=st.text(YAML, max_size=60).map(str.encode) | mutants(json.dumps(PARAMS).encode()))
@fuzz
def test_B4_any_yaml(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_bytes(content[:2000])
    try_it(lambda: read_yaml(path))


@given(
    content=st.text(YAML, max_size=60).map(str.encode)
    | st.dictionaries(st.sampled_from(["optimiser", "seed", "x"]), plain).map(
        lambda value: json.dumps(value).encode()
    )
)
@fuzz
def test_B2_any_best_yaml(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "best.yaml"
    path.write_bytes(content)
    params = SimpleNamespace(seed=0, optimiser=make_optimiser())
    try_it(lambda: apply_best(params, path))


@given(changes=changes_of(make_metrics(), plain))
@fuzz
def test_R1_any_metrics_json(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "metrics.json"
    path.write_text(json.dumps(change(make_metrics(), changes)), errors="surrogatepass")
    try_it(lambda: read_metrics(path))


IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 3)) + bytes(18)


@given(content=mutants(IDX), num_dims=st.sampled_from([1, 3]))
@fuzz
def test_D6_any_idx(tmp_path_factory, content, num_dims):
    path = tmp_path_factory.getbasetemp() / "images"
    path.write_bytes(content)
    try_it(lambda: read_idx(path, num_dims))


def write_image(kind: str) -> bytes:
    file = BytesIO()
    picture = Image.effect_noise((9, 7), 60).convert("P" if kind == "GIF" else "RGB")
    picture.save(file, kind)
    return file.getvalue()


IMAGES = [write_image(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")]


@given(content=st.one_of([mutants(image) for image in IMAGES]))
@fuzz
def test_B7_any_image(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "image.png"
    path.write_bytes(content)
    try_it(lambda: read_square(path, 8, "bilinear"))


def header(value: object) -> bytes:
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + bytes(16)


headers = st.dictionaries(
    st.text(max_size=5) | st.just("__metadata__"),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "BOOL", "X"]),
            "shape": st.lists(st.integers(-1, 2**62), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 2**62), min_size=2, max_size=2),
        }
    )
    | plain,
)


def write_arrays() -> bytes:
    """Return a .npz file of images with labels."""
    file = BytesIO()
    np.savez_compressed(file, images=np.zeros((3, 8, 8), np.uint8), labels=["a", "b", "a"])
    return file.getvalue()


@given(content=mutants(write_arrays()))
@fuzz
def test_B7_any_arrays(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(content)
    try_it(lambda: read_array_file(path, 4, "bilinear", False))


TABLES = {
    ".csv": b'file_name,label\na.png,1\n"b.png",dog\n',
    ".jsonl": b'{"file_name": "a.png", "label": 1}\n' * 2,
}


@given(data=st.data())
@fuzz
def test_B7_any_table_of_labels(tmp_path_factory, data):
    kind = data.draw(st.sampled_from([*TABLES]))
    path = tmp_path_factory.getbasetemp() / f"labels{kind}"
    path.write_bytes(data.draw(mutants(TABLES[kind])))
    try_it(lambda: label_images(path.parent, ["a.png", "b.png"], [path]))


@pytest.fixture(scope="module")
def tensor_file(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("tensors") / "model"
    save_tensors(path, {"x": torch.ones(2, 2)}, {"vae": {"a": 1}, "latent_shape": [1]})
    return path.read_bytes()


@given(data=st.data())
@fuzz
def test_T5_any_safetensors(tmp_path_factory, tensor_file, data):
    content = data.draw(mutants(tensor_file) | headers.map(header))
    path = tmp_path_factory.getbasetemp() / "model.safetensors"
    path.write_bytes(content)
    for load in (load_tensors, load_config, load_vae):
        try_it(lambda load=load: load(path))


LINE = b'{"do": "open", "run": 0, "milliseconds": 1, "name": "a"}\n'
NEXT = {"do": "close", "run": 0, "milliseconds": 2}


@given(content=mutants(LINE * 3) | st.lists(plain).map(lambda v: json.dumps(v).encode() + b"\n"))
@fuzz
def test_F5_any_journal(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "a.jsonl"
    path.write_bytes(content)
    journal = Journal(path)
    before = journal.read()
    journal.append(NEXT)
    assert journal.read() == [*before, NEXT] or "nan" in str(before)
    journal.close()
    again = Journal(path)
    assert again.read()[-1] == NEXT
    again.close()


OWN = [[[[0.5] * 16] * 16]]
BODY = json.dumps({"inputs": OWN, "params": {"num_images": 1, "seed": 1}}).encode()
requests = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.just(OWN) | plain,
        "instances": plain,
        "dataframe_split": plain,
        "params": st.dictionaries(
            st.sampled_from(["num_images", "seed", "x"]), st.sampled_from([0, 1, -1]) | plain
        )
        | plain,
    },
)


@pytest.fixture
def client(store) -> TestClient:
    """What asks a served model of untrained networks, whose server raises what it cannot answer."""
    register_toy()
    return TestClient(make_app("models:/diffusevae-toy/1", 5001), "http://127.0.0.1:5001")


@given(
    body=requests.map(lambda value: json.dumps(value).encode())
    | plain.map(lambda value: json.dumps(value).encode())
    | mutants(BODY)
)
@fuzz
def test_B2_any_request(client, body):
    start = time.process_time()
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert time.process_time() - start < HANG_SECONDS
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code != 200:
        [line] = answer.json().values()
        assert 0 < len(line) < LONGEST and "\n" not in line and "Traceback" not in line
