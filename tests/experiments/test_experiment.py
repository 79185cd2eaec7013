import copy
import dataclasses
import re
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment, load_experiment, load_latent_study
from diffusevae.experiments.params_file import find_sections
from tests.support.toy_trainings import make_optimiser

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def content() -> dict:
    """The project's own params.yaml with its merge keys resolved, to be changed at will."""
    loaded = YAML(typ="safe", pure=True).load(PARAMS.read_text())
    return {
        root: {name: copy.deepcopy(entry) for name, entry in entries.items()}
        for root, entries in loaded.items()
    }


@pytest.fixture
def faults(tmp_path, content):
    """Return what is said about the (changed) content, without the file's name."""
    path = tmp_path / "params.yaml"

    def load(name: str = "smoke") -> str:
        with open(path, "w") as file:
            YAML().dump(content, file)
        with pytest.raises(InputError) as caught:
            (load_latent_study if "latents" in name else load_experiment)(name, path)
        said = str(caught.value)
        assert "\n" not in said and said.count(str(path)) == 1 + said.count("; also ")
        return said.replace(f"{path} ", "")

    return load


def test_every_experiment_of_the_project_is_sound():
    names = YAML(typ="safe", pure=True).load(PARAMS.read_text())["experiments"]
    assert {"smoke", "quickstart", "mnist", "fashion_mnist"} <= set(names)
    own = {"gpu_pictures"}  # of a folder that the user has to make
    for name in set(names) - own:
        assert load_experiment(name, PARAMS).name == name
    for name in own:
        with pytest.raises(InputError, match="there is no folder data/raw/pictures of your own"):
            load_experiment(name, PARAMS)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_an_experiment_for_one_gpu_has_the_study_s_data_and_the_settings_found_since(dataset):
    """The study's, its UNet and what is run on demand are the same; a code has 64 numbers."""
    every = YAML(typ="safe", pure=True).load(PARAMS.read_text())["experiments"]
    found, study = every[f"gpu_{dataset}"], every[dataset]
    same = ("dataset", "unet", "sample", "evaluate", "ablate", "frontier", "compress")
    assert {name: found[name] for name in same} == {name: study[name] for name in same}
    vae = found["vae"]
    side = 32 // 2 ** (len(vae["channel_multipliers"]) - 1)
    assert vae["latent_channels"] * side**2 == 64
    assert found["diffusion"] == every["quickstart"]["diffusion"]
    assert found["tune_vae"]["n_trials"] == found["tune_ddpm"]["n_trials"] == 0


def test_an_experiment_knows_its_data_and_the_order_of_its_stages():
    experiment = load_experiment("smoke", PARAMS)
    assert experiment == Experiment("smoke", "mnist_tiny", "mnist")
    assert experiment.targets == [
        "download@mnist",
        "download@alexnet",
        "prepare@mnist_tiny",
        "train_classifier@mnist_tiny",
        "tune_vae@smoke",
        "train_vae@smoke",
        "tune_ddpm@smoke",
        "train_ddpm@smoke",
        "train_diffusevae@smoke",
        "sample@smoke",
        "evaluate@smoke",
        "figures@smoke",
        "report@smoke",
    ]
    assert experiment.output("sample", "x") == Path("artifacts/smoke/sample/x")


def test_a_folder_of_images_is_a_source_where_it_exists(content, faults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = content["datasets"]["mnist_tiny"]["images"]
    images["source"] = "mnits"
    said = faults()
    assert "datasets.mnist_tiny.images.source: 'mnits' is no known data set" in said
    assert "did you mean 'mnist'?" in said and "no folder data/raw/mnits of your own" in said
    (tmp_path / "data/raw/mnits").mkdir(parents=True)
    with pytest.raises(InputError, match="data/raw/mnits: holds no image"):
        load_experiment("smoke", tmp_path / "params.yaml")
    Image.new("L", (8, 8)).save(tmp_path / "data/raw/mnits/a.png")
    experiment = load_experiment("smoke", tmp_path / "params.yaml")
    assert experiment.source == "mnits"
    assert experiment.targets[:2] == ["download@alexnet", "prepare@mnist_tiny"]
    for source in ("../mnist", "alexnet"):
        images["source"] = source
        assert "is no name" in faults()


def test_the_targets_are_stages_of_dvc_yaml_and_none_runs_before_what_it_needs():
    stages = YAML(typ="safe", pure=True).load((PARAMS.parent / "dvc.yaml").read_text())["stages"]
    targets = load_experiment("smoke", PARAMS).targets
    made: set[str] = set()
    for target in targets:
        stage, key = target.split("@")
        text = str(stages[stage]["do"])
        for name, value in {
            "key": key,
            "item": key,
            "item.dataset": "mnist_tiny",
            "item.images.source": "mnist",
        }.items():
            text = text.replace(f"${{{name}}}", value)
        needed, outs = (
            re.findall(r"'((?:data|artifacts)/[^']+)'", part) for part in text.split("'outs'")
        )
        for path in needed:
            assert any(path.startswith(done) or done.startswith(path) for done in made), target
        made |= set(outs)


def test_an_unknown_experiment_gets_the_nearest_name():
    with pytest.raises(InputError, match="no 'quikstart'; did you mean 'quickstart'"):
        load_experiment("quikstart", PARAMS)


@pytest.mark.fault("B1")
def test_unknown_and_missing_keys_are_named_at_every_level_and_all_at_once(content, faults):
    content["experiment"] = {}
    content["experiments"]["smoke"]["sampeler"] = {}
    content["experiments"]["smoke"]["vae"]["latent_chanels"] = 4
    content["datasets"]["mnist_tiny"]["images"]["size"] = 32
    del content["experiments"]["quickstart"]["seed"]
    said = faults()
    for part in (
        "experiment: unknown key; did you mean 'experiments'?",
        "experiments.smoke.sampeler: unknown key; did you mean 'sampler'?",
        "experiments.smoke.vae.latent_chanels: unknown key; did you mean 'latent_channels'?",
        "datasets.mnist_tiny.images.size: unknown key",
        "experiments.quickstart.seed: missing",
    ):
        assert part in said
    assert said.count("; also ") == 4


def test_a_section_is_checked_by_the_schema_of_the_stage_that_computes_with_it():
    sections = find_sections("experiments")
    assert all(schema is not dict for schema in sections.values())
    assert sections["seed"] is int and sections["dataset"] is str


def make_optimiser_section(**changes) -> dict:
    """Return the section of an optimiser of params.yaml, for 32 images at a time."""
    return dataclasses.asdict(make_optimiser(batch_size=32)) | changes


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("vae.dropout", 1.5, "vae.dropout: 1.5 is out of range; allowed 0 to 1"),
        ("vae.dropout", "0.1", "vae.dropout: expected a number, found the text '0.1'"),
        ("train_vae.epochs", True, "train_vae.epochs: expected a whole number, found the bool"),
        ("train_vae.epochs", 2.0, "train_vae.epochs: expected a whole number"),
        ("vae.kl_weight", float("nan"), "vae.kl_weight: nan is not a finite number"),
        ("sample.num_images", 0, "sample.num_images: 0 is out of range"),
        ("dataset", "mnist_tinny", "dataset: there is no 'mnist_tinny'; did you mean"),
        ("dataset", 3, "dataset: expected text"),
        ("vae", 3, "vae: expected a mapping"),
        ("unet.num_heads", 3, "num_heads 3 does not divide the 16 channels of level 2"),
        # Sections that are sound, but not together.
        (
            "frontier.converged_steps",
            1001,
            "frontier.num_steps, converged_steps: 1001, but there are only 1000 timesteps",
        ),
        (
            "frontier.num_images",
            101,
            "frontier.num_images: 101, but there are only 100 pairs of validation images",
        ),
        (
            "registered_sampler",
            "fronteer",
            "registered_sampler: 'fronteer' is none of params, frontier",
        ),
        ("frontier.etas", [], "etas: expected one or more"),
        ("distil.num_steps", [4, 3], "num_steps [4, 3]: expected those of the teacher, then fewer"),
        ("distil.num_steps", [2000, 1], "distil.num_steps: 2000, but there are only 1000"),
        ("distil.compared_steps", [1001], "distil.compared_steps: 1001, but there are only 1000"),
        ("distil.num_train_images", 513, "distil.num_train_images: 513, but there are only 512"),
        (
            "compress.codes",
            [[1, 5, 5], [1, 4, 4]],
            "compress.codes: [1, 5, 5]: images of 32 x 32 do not come down to 5 x 5",
        ),
        ("compress.num_test_images", 257, "compress.num_test_images: 257, but there are only 256"),
        ("ablate.num_train_images", 513, "ablate.num_train_images: 513, but there are only 512"),
        ("ablate.seeds", [1, 1], "seeds: expected one or more, each once"),
        (
            "ablate.variants",
            [["in"], {"name": "z", "fuse": ["shift"], "condition": "code"}],
            "ablate.variants z: fuse shift adds x_hat, which condition code leaves out",
        ),
        (
            "ablate.variants",
            [{"name": "z", "fuse": ["attend"], "condition": "both"}],
            "ablate.variants z: fuse attend alone: x_hat enters nowhere",
        ),
        ("unet.fuse", ["in", "attend"], "unet.fuse attend: x_hat has no tokens; use condition"),
        ("sampler.num_steps", 1001, "sampler.num_steps: 1001, but there are only 1000 timesteps"),
        ("sample.num_images", 257, "sample.num_images: 257, but there are only 256 test images"),
        ("sample.num_generated", 3, "sample: 3 images; at least 8 must be refined and generated"),
        ("sample.num_images", 8, "figures.num_images: 10, but there are only 8 refined images"),
        ("theory.num_images", 257, "theory.num_images: 257, but there are only 256 test images"),
        ("theory.num_levels", 1000, "theory.num_levels: 1000, but there are only 999 steps"),
        ("figures.tsne_perplexity", 200.0, "tsne_perplexity: 200.0, but there are only 199 other"),
        ("prior.num_components", 513, "prior.num_components: 513, but there are only 512"),
        ("train_vae.snapshot_epochs", [3], "train_vae.snapshot_epochs: 3, but there are only 2"),
        ("train_ddpm.snapshot_epochs", [3], "train_ddpm.snapshot_epochs: 3, but there are only 2"),
        ("vae.channel_multipliers", [1] * 7, "vae.channel_multipliers"),
        ("train_diffusevae.p_uncond", 0.0, None),
        (
            "sampler.guidance",
            1.0,
            "sampler.guidance: needs a model trained without its condition "
            "too; set ablate.p_uncond above 0",
        ),
        (
            "vae_optimiser",
            make_optimiser_section(accumulate=2) | {"batch_size": 1},
            "vae_optimiser: accumulate 2: a batch of 1 images has no so many parts; use at most 1",
        ),
        (
            "diffusion_optimiser",
            make_optimiser_section(accumulate=0),
            "diffusion_optimiser.accumulate: 0 is out of range; allowed 1 to",
        ),
        (
            "vae_optimiser",
            make_optimiser_section(learning_rate_warmup=1.0),
            "vae_optimiser.learning_rate_warmup 1: a training has only 1 epochs; use less than "
            "that (tune_vae.epochs)",
        ),
        (
            "diffusion_optimiser",
            make_optimiser_section(learning_rate_warmup=2.0),
            "use less than that (train_diffusevae.epochs)",
        ),
        (
            "vae_optimiser",
            make_optimiser_section(learning_rate_warmup=-1.0),
            "vae_optimiser.learning_rate_warmup: -1.0 is out of range",
        ),
        ("vae.kind", "rae", "tune_vae.objective: fair is no judge of a code of vae.kind rae"),
        (
            "unet.labels",
            True,
            "unet.labels: a model that is told classes must know images without, too; set "
            "train_ddpm.p_uncond above 0",
        ),
        ("tune_vae.space", {"unet": {}}, "tune_vae.space.unet: cannot be tuned; known: vae, vae_"),
        (
            "tune_vae.space",
            {"vae": {"dropuot": {"low": 0.0, "high": 0.5}}},
            "tune_vae.space.vae.dropuot: unknown key; did you mean 'dropout'?",
        ),
        (
            "tune_vae.space",
            {"vae": {"dropout": {"low": 0.0, "high": 2.0}}},
            "tune_vae.space.vae.dropout: 2.0 is out of range",
        ),
        (
            "tune_vae.space",
            {"vae": {"dropout": {"low": 0.5, "high": 0.1}}},
            "tune_vae.space.vae.dropout: low 0.5 is above high 0.1",
        ),
        (
            "tune_vae.space",
            {"vae": {"dropout": {"choices": []}}},
            "tune_vae.space.vae.dropout: choices must be a list",
        ),
        ("tune_vae.space", {"vae": {"dropout": {"lo": 0.5}}}, "is no range"),
        ("tune_vae.space", {"vae": {"dropout": 0.1}}, "tune_vae.space.vae.dropout"),
        ("tune_vae.space", {"vae": 0.1}, "tune_vae.space.vae"),
        (
            "tune_ddpm.space",
            {"diffusion": {"num_timesteps": {"choices": [3, 5]}}},
            "sampler.num_steps: 5, but there are only 3 timesteps",
        ),
        (
            "tune_ddpm.space",
            {"unet": {"num_heads": {"low": 2, "high": 4}}},
            "tune_ddpm.space.unet: num_heads 3 does not divide the 16 channels of level 2",
        ),
        (
            "tune_ddpm.space",
            {
                "unet": {
                    "num_heads": {"choices": [2, 16]},
                    "channel_multipliers": {"choices": [[1, 2, 2], [1, 1, 1]]},
                }
            },
            "tune_ddpm.space.unet: num_heads 16 does not divide the 8 channels of level 2",
        ),
        (
            "sampler",
            {
                "sampler": "ddim_ahead",
                "num_steps": 1000,
                "spacing": "trailing",
                "eta": 0.0,
                "variance": "zero",
                "clip": True,
                "guidance": 0.0,
                "temperature": 1.0,
                "shared_noise": False,
                "batch_size": 9,
            },
            "sampler.num_steps: 1000, but there are only 999 timesteps",
        ),
        (
            "sampler.spacing",
            "leading",
            "frontier.num_steps, converged_steps: 1 with sampler."
            "spacing leading is a step at t = 0",
        ),
        (
            "tune_ddpm.space",
            {
                "diffusion": {
                    "scheduler_type": {"choices": ["linear"]},
                    "num_timesteps": {"choices": [1000]},
                    "beta_start": {"choices": [1e-7]},
                    "beta_end": {"choices": [2e-7]},
                }
            },
            "diffusion: its noise levels have none of -20 to 20 dB",
        ),
        (
            "tune_vae.space",
            {"vae": {"channel_multipliers": {"choices": [[1], [1] * 7]}}},
            "vae.channel_multipliers",
        ),
    ],
)
@pytest.mark.fault("B3", "B8")
def test_a_value_that_cannot_work_is_found_before_any_work(content, faults, place, value, said):
    section = content["experiments"]["smoke"]
    *parents, key = place.split(".")
    for parent in parents:
        section = section[parent]
    section[key] = value
    if said is None:
        content["experiments"]["smoke"]["sampler"]["guidance"] = 1.0
        said = "condition too; set train_diffusevae.p_uncond above 0, or guidance to 0"
    assert said in faults()


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "", "x" * 61, "ü", "a\nb", 7])
@pytest.mark.fault("B6")
def test_names_are_plain(content, faults, name):
    content["experiments"][name] = content["experiments"]["smoke"]
    assert "is no name; use letters, digits and _" in faults()


@pytest.mark.parametrize("size", [10, 30])
@pytest.mark.fault("B8")
def test_images_must_suit_the_networks_and_the_metrics(content, faults, size):
    content["datasets"]["mnist_tiny"]["images"]["image_size"] = size
    said = faults()
    assert "unet.channel_multipliers [1, 2, 2]" in said
    assert ("SSIM needs image_size 11" in said) == (size == 10)


@pytest.mark.parametrize("root", ["datasets", "experiments"])
@pytest.mark.parametrize("entries", [None, [], {}, "text"])
def test_a_root_without_entries_is_an_error(content, faults, root, entries):
    content[root] = entries
    assert f"{root}: expected a mapping with at least one entry" in faults()


def test_a_latent_study_brings_what_it_needs_before_its_own_stages():
    study = load_latent_study("latents_smoke", PARAMS)
    assert study.targets == [
        "download@fashion_mnist",
        "download@mnist",
        "download@nuclei",
        "download@raman",
        "prepare@fashion_mnist_tiny",
        "prepare@mnist_tiny",
        "train_classifier@mnist_tiny",
        "download@alexnet",
        "tune_vae@smoke",
        "train_vae@smoke",
        "tune_ddpm@smoke",
        "train_ddpm@smoke",
        "train_diffusevae@smoke",
        "beta_vae@latents_smoke",
        "sprites@latents_smoke",
        "spectra@latents_smoke",
        "autoencoders@latents_smoke",
        "overview@latents_smoke",
    ]
    assert study.output("overview", "x") == Path("artifacts/latents_smoke/overview/x")


def test_test_images_null_is_all_of_a_folder_test(content, faults, tmp_path, monkeypatch):
    """And what is asked for of them is counted before any work."""
    monkeypatch.chdir(tmp_path)
    asked = content["experiments"]["smoke"]["sample"]["num_images"]
    content["datasets"]["mnist_tiny"]["images"] |= {"source": "clothes", "test_images": None}
    folder = tmp_path / "data/raw/clothes"
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / part / "0.png")
    for i in range(asked - 1):
        (folder / "test" / f"{i}.png").write_bytes((folder / "train/0.png").read_bytes())
    said = faults()
    most = asked - 1
    assert f"smoke.sample.num_images: {asked}, but there are only {most} test images; use" in said
    (folder / "test" / "last.png").write_bytes((folder / "train/0.png").read_bytes())
    assert load_experiment("smoke", tmp_path / "params.yaml").source == "clothes"
    (folder / "test").rename(folder / "tests")
    with pytest.raises(InputError, match="^clothes: test_images is null, which means all of a fol"):
        load_experiment("smoke", tmp_path / "params.yaml")
    content["datasets"]["mnist_tiny"]["images"]["source"] = "cifar10_test"
    with open("params.yaml", "w") as file:
        YAML().dump(content, file)
    with pytest.raises(InputError, match="^cifar10_test: test_images is null"):
        load_experiment("smoke", tmp_path / "params.yaml")


def test_a_latent_study_works_on_a_folder_of_images_too(content, faults, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content["datasets"]["fashion_mnist_tiny"]["images"]["source"] = "clothes"
    assert "'clothes' is no known data set" in faults("latents_smoke")
    (tmp_path / "data/raw/clothes").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "data/raw/clothes/a.png")
    targets = load_latent_study("latents_smoke", tmp_path / "params.yaml").targets
    assert targets[:4] == [
        "download@mnist",
        "download@nuclei",
        "download@raman",
        "prepare@fashion_mnist_tiny",
    ]


def test_faults_of_a_latent_study_are_named(content, faults):
    study = content["latent_studies"]["latents_smoke"]
    study["dataset"], study["experiment"] = "mnist_teeny", "smok"
    study["beta_vae"]["steps"] = 1
    said = faults("latents_smoke")
    assert "latents_smoke.dataset: there is no 'mnist_teeny'; did you mean 'mnist_tiny'?" in said
    assert "latents_smoke.experiment: there is no 'smok'; did you mean 'smoke'?" in said
    assert "latents_smoke.beta_vae.steps: 1" in said
    del content["latent_studies"]["latents_smoke"]
    assert "latent_studies: there is no 'latents_smoke'" in faults("latents_smoke")


def test_a_latent_study_asks_for_no_guidance_that_its_model_lacks(content, faults):
    study = content["latent_studies"]["latents_smoke"]
    study["autoencoders"]["interpolation"]["sampler"]["guidance"] = 1.0
    study["dataset"] = "mnist_teeny"
    assert "guidance" not in faults("latents_smoke")  # smoke's p_uncond is 0.1
    content["experiments"]["smoke"]["train_diffusevae"]["p_uncond"] = 0.0
    said = "interpolation.sampler.guidance: needs a model trained without its condition too"
    assert said in faults("latents_smoke")


def test_a_latent_study_fits_its_images_and_its_model(content, faults):
    study = content["latent_studies"]["latents_smoke"]
    study["beta_vae"]["model"]["channels"] = [8] * 6
    study["beta_vae"]["autoencoder"]["channels"] = [4] * 5
    family = study["autoencoders"]
    family["restoration"] |= {"factors": [2, 3], "channels": [4] * 7}
    family["segmentation"]["unet"] |= {"channel_multipliers": [1] * 7}
    family["interpolation"]["sampler"] |= {
        "sampler": "ddim_ahead",
        "num_steps": 1000,
        "clip": False,
    }
    content["experiments"]["smoke"]["diffusion"] |= {"open_ends": True}
    said = faults("latents_smoke")
    for part in (
        "beta_vae.model.channels: images of 32 x 32 cannot be halved 6 times",
        "beta_vae.autoencoder.channels: images of 32 x 32 cannot be halved 6 times",
        "restoration.factors: 3 does not divide images of 32 x 32",
        "restoration.channels: images of 32 x 32 cannot be halved 6 times",
        "segmentation.unet.channel_multipliers",
        "interpolation.sampler.num_steps: 1000, but of the experiment's timesteps ddim_ahead can "
        "take only 999",
        "interpolation.sampler.clip: false, but a model trained with diffusion.open_ends",
    ):
        assert part in said


def test_a_codebook_follows_whole_batches(content, faults):
    smoke = content["experiments"]["smoke"]
    smoke["vae"]["kind"], smoke["vae_optimiser"]["accumulate"] = "vq", 2
    assert faults().endswith(
        "smoke.vae_optimiser.accumulate 2: the codebook of vae.kind vq follows whole batches; "
        "set it to 1"
    )


def test_a_classifier_s_training_outlasts_its_warm_up(content, faults):
    dataset = content["datasets"]["mnist_tiny"]
    dataset["classifier_optimiser"] = make_optimiser_section(learning_rate_warmup=3.0)
    said = "datasets.mnist_tiny.classifier_optimiser.learning_rate_warmup 3: a training has only 3"
    assert said in faults()


def test_digits_are_not_mirrored_and_latent_studies_mirror_nothing(content, faults):
    images = content["datasets"]["fashion_mnist_tiny"]["images"]
    images["flips"] = True
    said = faults("latents_smoke")
    assert "latents_smoke.dataset, other_dataset: images.flips is true, but latent studies" in said
    images["flips"] = "yes"
    assert "fashion_mnist_tiny.images.flips: expected true or false, found" in faults()
    content["datasets"]["mnist_tiny"]["images"]["flips"] = True
    assert "mnist_tiny.images: flips: true, but mirrored images of mnist are other" in faults()


def test_latent_studies_take_whole_batches(content, faults):
    study = content["latent_studies"]["latents_smoke"]
    study["autoencoders"]["network"]["optimiser"] = make_optimiser_section(accumulate=2)
    study["sprites"]["optimiser"] = make_optimiser_section(accumulate=4)
    said = faults("latents_smoke")
    assert "latents_smoke.sprites.accumulate" not in said
    for place in (
        "sprites.optimiser.accumulate: 4",
        "autoencoders.network.optimiser.accumulate: 2",
    ):
        assert f"latents_smoke.{place}, but the losses of latent studies are of whole" in said


@pytest.mark.parametrize("source", ["raman", "nuclei"])
def test_what_is_no_set_of_images_cannot_be_a_data_set(content, faults, source):
    content["datasets"]["mnist_tiny"]["images"]["source"] = source
    assert f"'{source}' is no name" in faults()


def test_a_latent_study_asks_for_no_more_than_there_is(content, faults):
    study, images = content["latent_studies"]["latents_smoke"], content["datasets"]["mnist_tiny"]
    there = images["images"]["train_images"], images["images"]["test_images"]
    study["beta_vae"] |= {"num_clusters": there[0] + 1, "num_test_images": there[1]}
    study["beta_vae"]["num_traversed"] = there[1] + 1
    family = study["autoencoders"]
    family |= {"num_train_images": 20, "num_test_images": there[1] + 1}
    family["undercomplete"]["latents"] = [2, 20]
    family["stacked"] |= {"image_size": 4, "widths": [40, 17]}
    family["segmentation"]["num_digits"] = 21
    family["restoration"]["num_settings_images"] = family["num_validation_images"] + 1
    family["holes"]["num_images"] = 30
    family["interpolation"]["num_pairs"] = there[1] + 2
    other = content["datasets"]["fashion_mnist_tiny"]["images"]
    other["train_images"] = family["num_validation_images"]
    said = faults("latents_smoke")
    for part in (
        f"beta_vae.num_clusters: {there[0] + 1}, but there are only {there[0]} training images",
        f"beta_vae.num_traversed: {there[1] + 1}, but there are only {there[1]} test images",
        f"autoencoders.num_test_images: {there[1] + 1}, but there are only {there[1]} test images",
        "autoencoders.undercomplete.latents: 20, but there are only 19 principal components",
        "autoencoders.stacked.widths: 17, but there are only 16 principal components",
        "autoencoders.segmentation.num_digits: 21, but there are only 20 train images",
        "autoencoders.restoration.num_settings_images: ",
        "autoencoders.holes.num_images: 30, but there are only 20 train images in the study "
        "(autoencoders.num_train_images); use at most 20",
        f"autoencoders.interpolation.num_pairs: {there[1] + 2}, but there are only",
        f"only {other['train_images'] - 1} training images of other_dataset that can be spared",
    ):
        assert part in said, part
    assert "autoencoders.num_train_images:" not in said and "num_test_images: 100" not in said
