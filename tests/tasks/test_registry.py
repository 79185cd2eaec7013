"""Registering toy models in a store of their own; loading the model registered on `smoke`."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.core.yaml_file import read_yaml
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import track_stage
from tasks.registry.model_card import measure_version
from tasks.registry.registration import find_version
from tasks.registry.sampler import find_weights
from tests.support.toy_artifacts import SHAPE, change_code
from tests.support.toy_registry import SAMPLER, TOY, register_toy, write_diffusevae, write_prior

ROOT = Path(__file__).parents[2]


@pytest.mark.fault("R8")
def test_the_same_files_are_registered_once_and_changed_ones_again(store):
    assert find_version(TOY) is None
    first = register_toy()
    assert (first.name, first.version) == ("diffusevae-toy", "1")
    assert register_toy() == find_version(TOY) == first
    parent = store.get_run(store.get_model_version("diffusevae-toy", "1").tags["parent_run"])
    assert set(parent.data.params) == {"experiment", "dataset"}  # MLflow adds none of its own
    write_prior(1.0)
    assert find_version(TOY) is None
    second = register_toy()
    assert second.version == "2" and second.model_id != first.model_id
    params = Path("params.yaml")
    params.write_text(SAMPLER.replace("num_steps: 2", "num_steps: 3"))
    assert register_toy().version == "3"
    params.write_text(SAMPLER)
    assert find_version(TOY) == second
    assert len(store.search_model_versions("name = 'diffusevae-toy'")) == 3


def write_choice(**changes) -> None:
    """Write what the stage frontier writes for the toy; `changes` are of what it was made with."""
    entry = read_yaml(Path("params.yaml"))["experiments"]["toy"]
    params = {name: entry[name] for name in ("seed", "sampler", "frontier")}
    files = {name: sha256_of(path) for name, path in find_weights(TOY).items()}
    files["classifier"] = sha256_of(TOY.data("train_classifier", "model.safetensors"))
    choice = {
        "files": files,
        "params": params,
        "num_images": 6,
        "converged": {"diffusevae_frechet": 12.0},
        "chosen": {"sampler": "unipc", "eta": 0.0, "num_steps": 7},
        "confirmed": True,
        "confirmation": {"diffusevae_ssim_change": 0.0},
        "sampler": entry["sampler"] | {"sampler": "unipc", "num_steps": 7},
        "measured": {"diffusevae_frechet": 12.5, "diffusevae_ssim": 0.75},
    }
    default = TOY.output("frontier", "default.json")
    default.parent.mkdir(parents=True, exist_ok=True)
    default.write_text(json.dumps(choice | changes))


def test_params_decide_the_sampler_unless_they_leave_it_to_the_frontier(store):
    write_choice()
    assert register_toy().version == "1"
    params = Path("params.yaml")
    params.write_text(SAMPLER.replace("registered_sampler: params", "registered_sampler: frontier"))
    assert register_toy() == find_version(TOY) == register_toy()
    one, two = (store.get_model_version("diffusevae-toy", version) for version in "12")
    for version, by, name, steps in ((one, "params", "ddim", 2), (two, "frontier", "unipc", 7)):
        sampler = json.loads(version.tags["sampler"])
        assert (sampler["sampler"], sampler["num_steps"]) == (name, steps)
        assert version.tags["sampler_chosen_by"] == by
        assert version.tags["sampler"] in version.description
    # What params.yaml's sampler made was measured on test images; nothing of it is said of another.
    assert "with it on held-out test images" in one.description
    assert one.tags["diffusevae_ssim"] == "0.886" and "frontier_" not in one.description
    assert "with it on 6 held-out test images by the stage frontier" in two.description
    assert two.tags["frontier_diffusevae_ssim"] == "0.75"
    assert "- frontier_diffusevae_frechet: 12.5" in two.description
    assert two.tags["vae_mse"] == one.tags["vae_mse"] == "0.00662"
    assert "0.886" not in two.description and "diffusevae_ssim" not in two.tags
    metrics = measure_version(TOY)
    assert metrics["frontier_diffusevae_frechet"] == 12.5 and "diffusevae_ssim" not in metrics


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (None, "but there is no artifacts/toy/frontier/default.json"),
        ({"files": {"diffusevae": "0" * 64}}, "was made with other files"),
        ({"params": {"seed": 1}}, "was made with other params"),
        ({"sampler": None}, "default.json.sampler: expected a mapping"),
        ({"measured": 1, "files": 1}, "default.json.measured: expected a mapping"),
    ],
)
def test_a_choice_that_the_frontier_did_not_make_for_this_model_is_one_line(store, changes, said):
    params = Path("params.yaml")
    text = SAMPLER.replace("registered_sampler: params", "registered_sampler: frontier")
    params.write_text(text)
    if changes is not None:
        write_choice(**changes)
    with pytest.raises(InputError, match=said) as raised:
        register_toy()
    assert "\n" not in str(raised.value) and "run `dvc repro frontier@toy`" in str(raised.value)
    assert store.search_registered_models() == []
    write_choice()
    for other in ("temperature: 0.9", "temperature: 1.1"):
        params.write_text(text.replace("temperature: 1.0", other))
        with pytest.raises(InputError, match="was made with other params"):
            find_version(TOY)
    TOY.output("frontier", "default.json").write_text('{"files": ')
    with pytest.raises(InputError, match="default.json: cannot be read"):
        find_version(TOY)


@pytest.mark.fault("T19")
def test_a_diffusevae_of_another_vae_is_not_registered(store):
    write_diffusevae("0" * 64)
    with pytest.raises(InputError, match="was trained on the VAE 000000000000, not on"):
        register_toy()
    assert store.search_registered_models() == []
    [parent] = store.search_runs([store.get_experiment_by_name("toy").experiment_id])
    assert parent.info.status == "FAILED"


def test_a_version_leads_to_the_runs_that_trained_it_whatever_run_registered_it(store):
    digests = {
        stage: sha256_of(TOY.output(stage, "model.safetensors"))
        for stage in ("train_vae", "train_diffusevae")
    }
    for stage, digest in digests.items():
        with Recorder() as recorder, track_stage(stage, "toy", {}, recorder) as log:
            log.tag("model_sha256", digest)
    register_toy()
    [version] = store.search_model_versions("name = 'diffusevae-toy'")
    for stage, digest in digests.items():
        run = store.get_run(version.tags[f"{stage}_run"])
        assert run.info.run_name == stage and run.data.tags["model_sha256"] == digest
    assert version.tags["vae_sha256"] == digests["train_vae"]
    assert version.tags["diffusevae_sha256"] == digests["train_diffusevae"]
    assert store.get_run(version.tags["parent_run"]).info.run_name == "pipeline"


def test_a_version_carries_a_card_with_the_measured_metrics(store):
    register_toy()
    [version] = store.search_model_versions("name = 'diffusevae-toy'")
    assert version.tags["dataset"] == "toy_data"
    assert version.tags["diffusevae_ssim"] == "0.886"  # of make_metrics
    for part in ("experiment toy", "toy_data", "1 x 16 x 16", "- diffusevae_ssim: 0.886"):
        assert part in version.description


TWO = """
import json, sys
import mlflow
import numpy as np
import diffusevae.registered.model
from diffusevae.registered.own_code import forget_package

forget_package()  # as flows.serve does it
mlflow.set_tracking_uri(sys.argv[1])
blank, four = np.zeros((1, 1, 16, 16), np.float32), {"num_images": 4, "seed": 1}
made = mlflow.pyfunc.load_model("models:/diffusevae-toy/2").predict(blank, params=four)
try:
    mlflow.pyfunc.load_model("models:/diffusevae-toy/1")
except mlflow.MlflowException as error:
    print(json.dumps([made.tolist(), str(error)]))
"""


def test_a_process_that_runs_a_version_s_code_refuses_one_with_other_code(store, tmp_path):
    import mlflow

    register_toy()
    change_code("registered/model.py", "images.contiguous()", "(1 - images).contiguous()")
    assert register_toy().version == "2"
    address = f"sqlite:///{tmp_path / 'mlflow/mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", TWO, address], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    inverted, refused = json.loads(done.stdout.splitlines()[-1])
    assert (
        "diffusevae-toy version 1 brings its own code, but this process runs that of "
        "diffusevae-toy version 2: load each in a process of its own"
    ) in refused
    # This process runs the code of the checkout, which is version 1's.
    model = mlflow.pyfunc.load_model("models:/diffusevae-toy/1")
    made = model.predict(np.zeros((1, *SHAPE), np.float32), params={"num_images": 4, "seed": 1})
    np.testing.assert_allclose(inverted, 1 - made, atol=1e-6)
    with pytest.raises(mlflow.MlflowException, match="version 2 brings its own code, .* that of /"):
        mlflow.pyfunc.load_model("models:/diffusevae-toy/2")


# What a stranger has: MLflow and the packages the model asks for; not this repository.
LOAD = """
import importlib.util, json, sys
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("diffusevae") is None
import mlflow
import numpy as np
from safetensors.numpy import load_file

mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model(sys.argv[3])
import diffusevae

pairs, generated = (load_file(path) for path in sys.argv[4:])
refined = model.predict(pairs["real"])
blank = np.zeros((1, 1, 32, 32), np.float32)
number = {"num_images": len(generated["diffusevae_gmm"]), "seed": 0}
made = model.predict(blank, params=number)
refused = []
for images, params in ((blank + 2, None), (blank[:0], None), (blank, {"num_images": -1})):
    try:
        model.predict(images, params=params)
    except mlflow.MlflowException as error:
        refused.append(str(error))
print(json.dumps({
    "code": diffusevae.__file__,
    "shapes": [refined.shape, made.shape], "types": [str(refined.dtype), str(made.dtype)],
    "range": [float(min(refined.min(), made.min())), float(max(refined.max(), made.max()))],
    "refined_as_the_stage": bool(np.array_equal(refined, pairs["diffusevae"])),
    "made_as_the_stage": bool(np.array_equal(made, generated["diffusevae_gmm"])),
    "seed_matters": not np.array_equal(made, model.predict(blank, params=number | {"seed": 1})),
    "refused": refused,
    "heavy": sorted({"prefect", "dvc", "optuna", "sklearn", "lpips", "matplotlib", "torchvision"}
                    & set(sys.modules)),
}))
"""


@pytest.fixture(scope="module")
def loaded(smoke_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a process without this repository gets from the registered model."""
    sample = smoke_checkout / "artifacts/smoke/sample"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        # -S leaves out the environment's link to this repository; its packages are added by path.
        [
            sys.executable,
            "-I",
            "-S",
            "-B",
            "-c",
            LOAD,
            sysconfig.get_path("purelib"),
            f"sqlite:///{smoke_checkout / 'mlflow/mlflow.db'}",
            "models:/diffusevae-smoke/1",
            sample / "pairs.safetensors",
            sample / "generated.safetensors",
        ],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def model_folder(checkout: Path) -> Path:
    [folder] = (checkout / "mlflow/artifacts/smoke/models").glob("*/artifacts")
    return folder


def test_the_registered_model_runs_its_own_code_and_repeats_the_stage_s_images(
    loaded, smoke_checkout
):
    assert Path(loaded["code"]).is_relative_to(model_folder(smoke_checkout))
    assert loaded["refined_as_the_stage"] and loaded["made_as_the_stage"]
    assert loaded["seed_matters"]
    assert loaded["heavy"] == []  # nothing is imported that its requirements do not name


def test_the_registered_model_returns_images_and_refuses_what_are_none(loaded):
    assert loaded["shapes"] == [[128, 1, 32, 32]] * 2 and loaded["types"] == ["float32"] * 2
    assert 0 <= loaded["range"][0] < loaded["range"][1] <= 1
    assert [
        "in [0, 1]" in loaded["refused"][0],
        "B x 1 x 32 x 32" in loaded["refused"][1],
        "allowed 0 to 2048" in loaded["refused"][2],
    ] == [True] * 3


@pytest.mark.fault("S5")
def test_the_registered_model_holds_no_pickle_and_pins_its_packages(smoke_checkout):
    folder = model_folder(smoke_checkout)
    # Beside what was registered there are caches of whoever loaded its code there.
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name != "__pycache__"]
    assert {path.suffix for path in files} == {
        ".safetensors",
        ".json",
        ".py",
        ".css",
        ".html",
        ".jinja",
        ".yaml",
        ".txt",
        "",
    }
    # The second is YAML as well, written where a model is loaded from the registry.
    assert {path.name for path in files if not path.suffix} <= {"MLmodel", "registered_model_meta"}
    requirements = (folder / "requirements.txt").read_text().split()
    assert {"torch", "numpy", "safetensors", "mlflow"} <= {r.split("==")[0] for r in requirements}
    assert all("==" in requirement for requirement in requirements)


def test_the_registered_model_has_a_signature_an_example_and_the_run_s_metrics(smoke_checkout):
    client = MlflowClient(f"sqlite:///{smoke_checkout / 'mlflow/mlflow.db'}")
    [version] = client.search_model_versions("name = 'diffusevae-smoke'")
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    ssim = {metric.key: metric.value for metric in logged.metrics}["diffusevae_ssim"]
    assert client.get_run(version.tags["parent_run"]).data.metrics["diffusevae_ssim"] == ssim
    from mlflow.models import Model

    model = Model.load(str(model_folder(smoke_checkout)))
    assert model.signature.inputs.inputs[0].shape == (-1, 1, 32, 32)
    assert [param.name for param in model.signature.params] == ["num_images", "seed", "labels"]
    assert len(model.load_input_example(str(model_folder(smoke_checkout)))) == 2
