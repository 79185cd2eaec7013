"""The gate: its rule by hand, and what it does to a real registry with better and worse models."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import mlflow
import pytest
import torch
from prefect.logging import disable_run_logger

from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.core.tensor_file import load_config, load_tensors, save_tensors
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.metrics.promotion import (
    GateConfig,
    Judgement,
    Made,
    decide,
    judge_all,
    judge_difference,
)
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.registered.own_code import running_package
from flows.serve import find_sound
from tasks.registry import champions, evidence, gate, person
from tasks.registry.own_process import describe_code, find_other_packages, make_apart
from tasks.registry.registration import find_version
from tasks.registry.versions import Version
from tasks.report.rerun_page import write_page
from tests.support.toy_artifacts import SHAPE, change_code, make_images
from tests.support.toy_registry import SAMPLER, TOY, register_toy
from tests.support.toy_splits import write_split

RULE = """\
gate: {num_images: 40, num_resamples: 50, seed: 1, margins: {ssim: 0.001, mse: 0.0001}}
"""


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("ssim", 0.011, 0.02, "better"),
        ("ssim", 0.009, 0.02, "not proven"),
        ("ssim", -0.02, -0.011, "worse"),
        ("ssim", -0.02, 0.02, "not proven"),
        ("mse", -0.02, -0.011, "better"),
        ("mse", 0.011, 0.02, "worse"),
        ("frechet", 0.009, 0.3, "not proven"),
    ],
)
def test_a_verdict_needs_the_whole_interval_beyond_the_margin(metric, low, high, verdict):
    assert judge_difference(metric, {"low": low, "high": high}, 0.01) == verdict


@pytest.mark.parametrize(
    ("verdicts", "decision", "reason"),
    [
        (("better", "not proven"), "promote", "better by SSIM, worse by nothing"),
        (("better", "worse"), "refuse", "worse by MSE"),
        (("not proven", "not proven"), "hold", "proven by SSIM, MSE"),
        (("worse", "not proven"), "refuse", "worse by SSIM"),
    ],
)
def test_the_rule(verdicts, decision, reason):
    judgements = [
        Judgement(name, 0, 0, {}, verdict)
        for name, verdict in zip(("ssim", "mse"), verdicts, strict=True)
    ]
    found, said = decide(judgements)
    assert found == decision and reason in said


def test_differences_are_paired_and_the_same_images_give_no_difference():
    real = make_images(40)
    noisy = real + 0.1 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    good, bad = Made(real, real), Made(noisy.clamp(0, 1), noisy.clamp(0, 1))
    config = GateConfig(40, 100, 1, {"mse": 0, "ssim": 0, "frechet": 0})

    def features(images):
        return images.flatten(1)[:, :6].double().numpy()

    reference = features(make_images(60))
    better = judge_all(good, bad, real, reference, features, config)
    assert [each.verdict for each in better[:2]] == ["better", "better"]
    assert better[0].candidate == 0
    assert better[0].champion == pytest.approx(float((bad.refined - real).square().mean()))
    same = judge_all(bad, bad, real, reference, features, config)
    assert {each.verdict for each in same} == {"not proven"}
    assert all(each.difference["low"] == each.difference["high"] == 0 for each in same)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"margins": {}}, "margins: expected some of mse, ssim"),
        ({"margins": {"kid": 1}}, "margins: expected some of"),
        ({"margins": {"ssim": -1}}, "margins.ssim: -1 is no number from 0 on"),
        ({"num_images": 0}, "num_images: 0 is out of range"),
    ],
)
def test_an_impossible_rule_is_refused(changes, reason):
    values = {"num_images": 5, "num_resamples": 5, "seed": 1, "margins": {"ssim": 0.1}}
    with pytest.raises(InputError, match=reason):
        build(GateConfig, values | changes, "gate")


@pytest.fixture
def registry(store, tmp_path):
    """The toy store, with what a comparison needs: validation images, a classifier, the rule."""
    Path("params.yaml").write_text(SAMPLER + RULE)
    for seed, part in enumerate(("validation", "train")):
        write_split(TOY.data("prepared", f"{part}.safetensors"), 100, seed)
    network = Classifier(ClassifierConfig(4, 8, 0.0, 1), SHAPE, 2)
    save_classifier(TOY.data("train_classifier", "model.safetensors"), network)
    return store


def judge(version: str):
    with disable_run_logger():
        return gate.judge_candidate.fn(TOY, version)


def tags_of(registry, version: str) -> dict:
    return registry.get_model_version("diffusevae-toy", version).tags


def register_changed(scale: float) -> str:
    """Register a version whose DiffuseVAE's images are all brighter, or darker: bias + scale."""
    path = TOY.output("train_diffusevae", "model.safetensors")
    tensors, config = load_tensors(path), load_config(path)
    tensors["unet.conv_out.bias"] += scale
    save_tensors(path, tensors, config)
    return register_toy().version


def test_first_equal_better_worse_forced_and_back(registry):
    first = register_changed(0.5)  # the untrained model makes images of the right brightness
    judge(first)
    assert gate.find_champion(TOY) == first and tags_of(registry, first)["gate"] == "first"

    equal = register_changed(1e-5)
    found = judge(equal)
    assert found.decision == "hold" and gate.find_champion(TOY) == first
    assert tags_of(registry, equal)["gate"] == "held"
    html = write_page(TOY, "compared", found).read_text()
    assert "Hold:" in html and html.count("data:image/png;base64,") == 2
    said = gate.describe_gate(TOY, equal)
    assert f"version {equal} was held against version {first}: no difference" in said
    assert gate.compare_environments(TOY, found) == []

    better, worse = register_changed(-0.5), register_changed(1.0)
    decisions = [gate.compare_versions(TOY, each, first).decision for each in (better, worse)]
    assert decisions == ["promote", "refuse"]
    assert gate.find_champion(TOY) == first  # comparing by hand changes nothing
    judge(better)
    assert gate.find_champion(TOY) == better
    tags = tags_of(registry, better)
    assert (tags["gate"], tags["gate_before"]) == ("promoted", first)
    assert {each["metric"] for each in json.loads(tags["gate_evidence"])} == {"ssim", "mse"}
    judge(worse)
    assert gate.find_champion(TOY) == better
    assert tags_of(registry, worse)["gate"] == "refused"
    assert "worse by" in tags_of(registry, worse)["gate_reason"]

    person.force(TOY, worse, "for a test")
    assert gate.find_champion(TOY) == worse
    assert tags_of(registry, worse)["gate"] == "forced"
    assert tags_of(registry, worse)["gate_reason"].endswith(": for a test")
    assert person.roll_back(TOY) == better == gate.find_champion(TOY)
    assert tags_of(registry, worse)["gate"] == "rolled back"


def test_a_copycat_is_refused_however_good_its_images_look(registry, monkeypatch):
    """Its new images are training images, a little changed."""
    first, copycat = register_changed(0.5), register_changed(-0.5)  # as better as above
    judge(first)
    make_other(monkeypatch, copycat, copy_training_images)
    found = judge(copycat)
    assert "better" in {each.verdict for each in found.judgements}
    assert found.decision == "refuse"
    assert gate.find_champion(TOY) == first
    reason = tags_of(registry, copycat)["gate_reason"]
    assert f"copies: images of version {copycat} lie at 40 of the training images" in reason


def make_other(monkeypatch, wanted: str, generated) -> None:
    """Let one version generate these images; what it refines, and the others, stay as they are."""
    make = Version.make

    def make_so(version, images, seed):
        made = make(version, images, seed)
        return Made(made.refined, generated(images)) if version.number == wanted else made

    monkeypatch.setattr(Version, "make", make_so)


def copy_training_images(images):
    train = load_split(TOY.data("prepared", "train.safetensors")).images[: len(images)]
    return (to_unit(train) + 0.01).clamp(0, 1)


def test_a_copycat_is_refused_as_the_very_first_model_too(registry, monkeypatch):
    copycat, second = register_changed(0.5), register_changed(0.4)
    make_other(monkeypatch, copycat, copy_training_images)
    assert judge(copycat) is None
    tags = tags_of(registry, copycat)
    assert gate.find_champion(TOY) is None and tags["gate"] == "refused"
    assert tags["gate_reason"].startswith(f"copies: images of version {copycat} lie at 40 of the ")
    assert "gate_against" not in tags
    assert gate.describe_gate(TOY, copycat).startswith(f"version {copycat} was refused: copies")
    judge(second)  # it does not stand in the way of the next one
    assert gate.find_champion(TOY) == second and tags_of(registry, second)["gate"] == "first"


class Brightness(Classifier):
    """Takes an image for one of 4 classes by its brightness in the first row's quarters."""

    def forward(self, x):
        return x[:, 0, 0].unflatten(1, (4, -1)).mean(2)


def paint(classes):
    """Return noise in which the quarter of the first row that means the class is bright."""
    images = 0.5 * torch.rand(len(classes), *SHAPE)
    for image, k in zip(images, classes, strict=True):
        image[0, 0, 4 * k : 4 * k + 4] = 1
    return images


@pytest.fixture
def four_classes(registry, monkeypatch):
    """The registry, with validation images of four classes and a classifier that knows them."""
    torch.manual_seed(0)
    Path("params.yaml").write_text(SAMPLER + RULE.replace("num_images: 40", "num_images: 100"))
    for part in ("train", "validation"):
        classes = torch.arange(200) % 4
        images = (255 * paint(classes)).round().to(torch.uint8)
        split = {"images": images, "labels": classes, "indices": torch.arange(200)}
        save_tensors(TOY.data("prepared", f"{part}.safetensors"), split)
    network = Brightness(ClassifierConfig(4, 8, 0.0, 1), SHAPE, 4)
    monkeypatch.setattr(evidence, "load_classifier", lambda path, device: network)
    return registry


@pytest.mark.parametrize(("shown", "missed"), [([0, 1, 3], [2]), ([1], [0, 2, 3])])
def test_a_collapsed_model_is_refused_in_one_line(four_classes, monkeypatch, shown, missed):
    first, collapsed = register_changed(0.5), register_changed(-0.5)
    classes = {first: [0, 1, 2, 3], collapsed: shown}
    for number, known in classes.items():
        make_other(monkeypatch, number, lambda x, k=known: paint((k * len(x))[: len(x)]))
    judge(first)
    assert tags_of(four_classes, first)["gate_reason"] == "there was none before"
    assert judge(collapsed).decision == "refuse"
    assert gate.find_champion(TOY) == first
    reason = tags_of(four_classes, collapsed)["gate_reason"]
    assert reason.startswith(f"classes: images of version {collapsed} hardly show")
    assert "\n" not in reason
    assert [k for k in range(4) if f"class {k}: 0 and 25" in reason] == missed


def test_a_first_model_that_shows_few_classes_is_refused(four_classes, monkeypatch):
    first, second, third = (register_changed(each) for each in (0.5, 0.4, 1e-5))
    for number, known in {first: [1], second: [0, 1, 2], third: [0, 1, 2]}.items():
        make_other(monkeypatch, number, lambda x, k=known: paint((k * len(x))[: len(x)]))
    judge(first)
    assert gate.find_champion(TOY) is None and tags_of(four_classes, first)["gate"] == "refused"
    judge(second)  # of which a class is missing: that stands in its tags
    assert gate.find_champion(TOY) == second
    reason = tags_of(four_classes, second)["gate_reason"]
    assert reason.startswith("there was none before; classes: images of version 2 hardly show")
    assert judge(third).decision != "refuse"  # no worse than the champion


def test_a_candidate_is_judged_again_when_the_champion_changes_meanwhile(registry, monkeypatch):
    first, better, meanwhile = (register_changed(each) for each in (0.5, -0.5, 1.0))
    judge(first)
    against = []
    compare = gate.compare_versions

    def compare_slowly(experiment, candidate, champion):
        against.append(champion)
        found = compare(experiment, candidate, champion)
        if len(against) == 1:
            champions.appoint("diffusevae-toy", meanwhile, first, "promoted", "meanwhile")
        return found

    monkeypatch.setattr(gate, "compare_versions", compare_slowly)
    judge(better)
    assert against == [first, meanwhile]
    assert gate.find_champion(TOY) == better
    assert tags_of(registry, better)["gate_before"] == meanwhile
    with pytest.raises(InputError, match=f"version {better}: is the champion already"):
        person.force(TOY, better, "again")


def test_what_a_person_chose_stands_until_a_person_lifts_it(registry):
    first, better, forced = (register_changed(each) for each in (0.5, -0.5, 1.0))
    judge(first)
    person.force(TOY, forced, "we show this one")
    for _ in range(2):  # every later run of the pipeline
        found = judge(better)
        assert found.decision == "hold" and gate.find_champion(TOY) == forced
    tags = tags_of(registry, better)
    assert tags["gate"] == "held" and "better by" in tags["gate_reason"]
    assert "we show this one, which stands until `diffusevae lift toy`" in tags["gate_reason"]
    assert person.roll_back(TOY) == first  # another word of a person
    judge(better)
    assert gate.find_champion(TOY) == first
    assert "rolled back by" in tags_of(registry, better)["gate_reason"]

    before = tags_of(registry, first)
    assert "rolled back" in person.lift(TOY)
    assert gate.find_champion(TOY) == first and tags_of(registry, first) == before
    with pytest.raises(InputError, match="not chosen by a person; there is nothing to lift"):
        person.lift(TOY)
    judge(better)
    assert gate.find_champion(TOY) == better and tags_of(registry, better)["gate"] == "promoted"
    assert person.roll_back(TOY) == first


def test_an_alias_moved_by_hand_is_a_persons_word(registry):
    first, better, chosen = (register_changed(each) for each in (0.5, -0.5, 1.0))
    judge(first)
    registry.set_registered_model_alias("diffusevae-toy", "champion", chosen)
    judge(better)
    assert gate.find_champion(TOY) == chosen
    assert "was chosen by hand" in tags_of(registry, better)["gate_reason"]
    person.lift(TOY)
    judge(better)
    assert gate.find_champion(TOY) == better


def test_a_word_said_while_the_gate_judges_outranks_it(registry, monkeypatch):
    first, better, forced = (register_changed(each) for each in (0.5, -0.5, 1.0))
    judge(first)
    compare = gate.compare_versions

    def compare_slowly(experiment, candidate, champion):
        found = compare(experiment, candidate, champion)
        if champion == first:
            person.force(TOY, forced, "meanwhile")
        return found

    monkeypatch.setattr(gate, "compare_versions", compare_slowly)
    judge(better)
    assert gate.find_champion(TOY) == forced and tags_of(registry, better)["gate"] == "held"


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("dataset", "other", "its dataset is other, here it is toy_data"),
        ("test_sha256", "0" * 64, "its test_sha256 is 00000"),
        ("validation_sha256", "0" * 64, "its validation_sha256 is 00000"),
        ("vae_sha256", "0" * 64, "vae.safetensors is not the file that was registered"),
        ("sampler", "{}", "sampler.json is not what was registered"),
        ("diffusevae_ssim", None, "it has no diffusevae_ssim"),
    ],
)
@pytest.mark.fault("R1", "R6")
def test_what_cannot_be_compared_is_refused_by_name(registry, tag, value, reason):
    first = register_toy().version
    judge(first)
    second = register_changed(0.5)
    if value is None:
        registry.delete_model_version_tag("diffusevae-toy", second, tag)
    else:
        registry.set_model_version_tag("diffusevae-toy", second, tag, value)
    assert judge(second) is None
    tags = tags_of(registry, second)
    assert tags["gate"] == "refused" and reason in tags["gate_reason"]
    assert f"diffusevae-toy version {second}" in tags["gate_reason"]
    assert gate.find_champion(TOY) == first


def test_a_version_that_names_no_validation_images_is_compared(registry):
    """Those registered before the gate judged by such images."""
    first = register_changed(0.5)
    registry.delete_model_version_tag("diffusevae-toy", first, "validation_sha256")
    judge(first)
    assert judge(register_changed(1e-5)).decision == "hold"


@pytest.mark.fault("R3", "R4")
def test_a_version_whose_file_was_changed_or_lost_is_refused(registry):
    first = register_toy().version
    judge(first)
    second = register_changed(0.5)
    source = registry.get_model_version("diffusevae-toy", second).source
    model = registry.get_logged_model(source.removeprefix("models:/"))
    stored = Path(model.artifact_location.removeprefix("file://")) / "artifacts"
    weights = stored / "diffusevae.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert judge(second) is None
    assert "diffusevae.safetensors is not the file" in tags_of(registry, second)["gate_reason"]
    weights.unlink()
    assert judge(second) is None
    assert "has no diffusevae.safetensors" in tags_of(registry, second)["gate_reason"]


@pytest.mark.fault("R3")
def test_a_champion_that_lost_a_file_is_no_champion_already(registry):
    first = register_toy().version
    judge(first)
    assert judge(first) is None
    source = registry.get_model_version("diffusevae-toy", first).source
    model = registry.get_logged_model(source.removeprefix("models:/"))
    (Path(model.artifact_location.removeprefix("file://")) / "artifacts/prior.safetensors").unlink()
    with pytest.raises(InputError, match="version 1: has no prior.safetensors"):
        judge(first)


def stored(registry, version: str) -> Path:
    source = registry.get_model_version("diffusevae-toy", version).source
    model = registry.get_logged_model(source.removeprefix("models:/"))
    return Path(model.artifact_location.removeprefix("file://"))


@pytest.mark.fault("R4")
def test_a_byte_that_flips_in_what_mlflow_wrote_is_found_by_name(registry):
    first = register_toy().version
    folder = stored(registry, first)
    tag = json.loads(tags_of(registry, first)["mlflow_files_sha256"])
    assert {"conda.yaml", "python_env.yaml", "input_example.json"} <= tag.keys()
    for file in ("MLmodel", "requirements.txt", "artifacts/hashes.json"):
        assert find_sound("models:/diffusevae-toy/1") == str(folder)
        content = (folder / file).read_bytes()
        flipped = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        (folder / file).write_bytes(flipped)
        name = file.removeprefix("artifacts/")
        said = f"toy version 1: {name} is not the file that was registered; run its experiment"
        with pytest.raises(InputError, match=said):
            find_sound("models:/diffusevae-toy/1")
        with pytest.raises(InputError, match=said):
            judge(first)
        with disable_run_logger():
            assert find_version(TOY) is None
        (folder / file).write_bytes(content)


@pytest.mark.parametrize(
    "file",
    [
        "artifacts/vae.safetensors",
        "artifacts/sampler.json",
        "code/diffusevae/models/vae.py",
        "pyfunc_model.py",
    ],
)
@pytest.mark.fault("R4")
def test_a_byte_that_flips_in_a_champion_is_neither_served_nor_compared_nor_kept(registry, file):
    first = register_toy().version
    judge(first)
    flipped = stored(registry, first) / file
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    name = file.removeprefix("artifacts/")
    with pytest.raises(mlflow.MlflowException, match=f"is damaged: {name} is not the file that"):
        mlflow.pyfunc.load_model("models:/diffusevae-toy@champion")
    with pytest.raises(InputError, match=f"toy version 1: {name} is not the file that was regis"):
        judge(first)
    with disable_run_logger():
        assert find_version(TOY) is None
    second = register_toy().version  # as the next run does
    assert second == "2"
    judge(second)
    assert gate.find_champion(TOY) == second
    tags = tags_of(registry, second)
    assert tags["gate"] == "promoted"
    assert "the same models as version 1, which cannot be used" in tags["gate_reason"]


def test_what_a_person_chose_stands_where_its_files_are_lost(registry):
    first, forced = register_changed(0.5), register_changed(1.0)
    judge(first)
    person.force(TOY, forced, "we show this one")
    shutil.rmtree(stored(registry, forced) / "artifacts")
    again = register_toy().version
    judge(again)
    assert gate.find_champion(TOY) == again
    assert "we show this one" in champions.find_word("diffusevae-toy")


def test_each_version_makes_its_images_with_its_own_code(registry, monkeypatch):
    """The same weights with code that inverts what it makes: never what another code makes."""
    assert register_toy().version == "1"
    change_code("registered/model.py", "images.contiguous()", "(1 - images).contiguous()")
    assert register_toy().version == "2"
    found = gate.compare_versions(TOY, "2", "1")
    for ours, theirs in (
        (found.ours.refined, found.theirs.refined),
        (found.ours.generated, found.theirs.generated),
    ):
        torch.testing.assert_close(ours, 1 - theirs)
    [code] = found.codes
    assert code.startswith("version 2: its own code, hash ")
    assert (
        "made with other code than judged them: version 2"
        in write_page(TOY, "compared", found).read_text()
    )


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("0123456789abcdef", "its own code, commit 0123456789ab"),
        ("0123456789abcdef-dirty", "its own code, commit 0123456789ab and changes to it"),
    ],
)
def test_code_is_named_by_its_commit_and_the_code_at_hand_is_not(tmp_path, commit, said):
    (tmp_path / "requirements.txt").write_text("numpy>1\n")
    (tmp_path / "code").mkdir()
    package = tmp_path / "code/diffusevae"
    package.symlink_to(running_package())
    assert describe_code(tmp_path, {"git_commit": commit}) == ""
    package.unlink()
    package.mkdir()
    assert describe_code(tmp_path, {"git_commit": commit}) == said


def test_code_that_fails_is_one_line(tmp_path):
    images = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    with pytest.raises(InputError, match="^toy version 3: cannot be judged: its own code fails he"):
        make_apart(tmp_path, "toy version 3", images, 0)


def test_packages_that_a_version_asks_for_in_vain_are_named(tmp_path):
    (tmp_path / "requirements.txt").write_text("torch==1.2.3\nnumpy>1\nno-such-package==4\n")
    assert list(find_other_packages(tmp_path / "requirements.txt")) == [
        f"torch==1.2.3, here it is {version('torch')}",
        "no-such-package==4, which is missing here",
    ]


def test_without_versions_or_a_champion_before_the_mend_is_named(registry):
    with pytest.raises(InputError, match="the registry has no version; run `make run EXPERIMENT=t"):
        gate.find_newest(TOY)
    with pytest.raises(InputError, match="there is no champion before the first to go back to"):
        person.roll_back(TOY)
    with pytest.raises(InputError, match="diffusevae-toy version 7: the registry has none"):
        gate.compare_versions(TOY, "7", "7")
