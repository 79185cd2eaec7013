import time
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from diffusevae.core.errors import InputError
from diffusevae.core.params import (
    PositiveCount,
    Range,
    Share,
    build,
    leave_out_defaults,
    load_entry,
    load_sections,
    override,
)


@dataclass(frozen=True)
class Inner:
    size: PositiveCount


@dataclass(frozen=True)
class Config:
    epochs: int
    rate: Annotated[float, Range(1e-6, 1.0)]
    share: Share
    kind: Literal["mse", "l1"]
    active: bool
    name: str
    levels: tuple[int, ...]
    limit: int | None
    inner: Inner
    free: dict

    def __post_init__(self) -> None:
        if self.epochs > 10 and self.kind == "l1":
            raise ValueError(f"epochs {self.epochs} with l1; use at most 10")


@dataclass(frozen=True)
class Grown:
    """Of two kinds of entries, and with options that were added later."""

    size: int
    either: tuple[tuple[str, ...] | Inner, ...] = ()
    more: dict = field(default_factory=dict)


GOOD = {
    "epochs": 3,
    "rate": 1e-4,
    "share": 0.5,
    "kind": "mse",
    "active": True,
    "name": "a",
    "levels": [1, 2],
    "limit": None,
    "inner": {"size": 4},
    "free": {"x": [1]},
}


def faults(value, schema: type = Config) -> str:
    with pytest.raises(InputError) as caught:
        build(schema, value, "here")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_value_is_built_with_exactly_the_types_of_the_schema():
    config = build(Config, GOOD | {"rate": 1, "limit": 7}, "here")
    assert config == Config(3, 1.0, 0.5, "mse", True, "a", (1, 2), 7, Inner(4), {"x": [1]})
    assert type(config.rate) is float


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": True}, "here.epochs: expected a whole number, found the bool True"),
        ({"epochs": 3.0}, "here.epochs: expected a whole number, found the float 3.0"),
        ({"epochs": "3"}, "here.epochs: expected a whole number, found the text '3'"),
        ({"epochs": None}, "here.epochs: expected a whole number, found nothing"),
        ({"rate": "1e-4"}, "here.rate: expected a number, found the text '1e-4'"),
        ({"rate": True}, "here.rate: expected a number, found the bool True"),
        ({"rate": float("nan")}, "here.rate: nan is not a finite number"),
        ({"rate": float("inf")}, "here.rate: inf is not a finite number"),
        ({"rate": -1}, "here.rate: -1.0 is out of range; allowed 1e-06 to 1.0"),
        ({"rate": 10**400}, "here.rate: inf is not a finite number"),
        ({"share": 1.01}, "here.share: 1.01 is out of range; allowed 0 to 1"),
        ({"kind": "mae"}, "here.kind: 'mae' is none of mse, l1"),
        ({"kind": ["mse"]}, "here.kind: a list is none of mse, l1"),
        ({"kind": None}, "here.kind: None is none of mse, l1"),
        ({"active": 1}, "here.active: expected true or false, found the int 1"),
        ({"name": 1}, "here.name: expected text, found the int 1"),
        ({"levels": 3}, "here.levels: expected a list, found the int 3"),
        ({"levels": "12"}, "here.levels: expected a list, found the text '12'"),
        ({"levels": [1, "2"]}, "here.levels[1]: expected a whole number, found the text '2'"),
        ({"limit": "x"}, "here.limit: expected a whole number, found the text 'x'"),
        ({"inner": 4}, "here.inner: expected a mapping, found the int 4"),
        ({"inner": {"size": 0}}, "here.inner.size: 0 is out of range; allowed 1 to 10000000"),
        ({"free": [1]}, "here.free: expected a mapping, found a list"),
        ({"epochs": 11, "kind": "l1"}, "here: epochs 11 with l1; use at most 10"),
    ],
)
@pytest.mark.fault("B2", "B3")
def test_a_wrong_value_is_named_with_its_place_and_what_was_expected(change, said):
    assert said in faults(GOOD | change)


@pytest.mark.fault("B1")
def test_unknown_and_missing_keys_and_every_other_fault_are_told_at_once():
    value = GOOD | {"epoch": 3, "share": 2, "inner": {"sise": 1}}
    del value["name"]
    assert faults(value).split("; also ") == [
        "here.epoch: unknown key; did you mean 'epochs'?",
        "here.name: missing; add it",
        "here.share: 2.0 is out of range; allowed 0 to 1",
        "here.inner.sise: unknown key; did you mean 'size'?",
        "here.inner.size: missing; add it",
    ]


def test_a_key_that_is_no_text_is_an_unknown_key():
    assert "here.3: unknown key" in faults(GOOD | {3: 4})


@pytest.mark.fault("B5")
def test_a_huge_value_does_not_make_a_huge_message():
    bomb = ["lol"] * 10
    for _ in range(8):
        bomb = [bomb] * 10  # 10^9 leaves, had one to write them out
    start = time.monotonic()
    for name in ("kind", "epochs", "name", "levels", "inner"):
        assert len(faults(GOOD | {name: bomb})) < 1000
    assert len(faults(GOOD | {"kind": "x" * 10_000})) < 1000
    assert len(faults(GOOD | {"epochs": "x" * 10_000})) < 1000
    assert len(faults(GOOD | {"x" * 10_000: 1})) < 1000
    assert time.monotonic() - start < 10


def test_override_replaces_fields_and_checks_as_build_does():
    config = build(Config, GOOD, "here")
    assert override(config, {"epochs": 5, "inner": {"size": 9}}, "there") == build(
        Config, GOOD | {"epochs": 5, "inner": {"size": 9}}, "here"
    )
    with pytest.raises(InputError, match="there.epoch: unknown key; did you mean 'epochs'"):
        override(config, {"epoch": 5}, "there")


def test_an_entry_is_found_or_the_nearest_named(write):
    path = write("experiments: {smoke: {seed: 3}, bad: 7}\n")
    assert load_entry(path, "experiments", "smoke") == {"seed": 3}
    for root, key, said in (
        ("experiments", "smok", "did you mean 'smoke'"),
        ("experiments", "bad", "experiments.bad: expected a mapping, found the int 7"),
        ("datasets", "mnist", "datasets: expected a mapping, found nothing"),
    ):
        with pytest.raises(InputError, match=said):
            load_entry(path, root, key)


def test_sections_are_attributes_and_all_their_faults_come_together(write):
    path = write("experiments: {smoke: {seed: 3, inner: {size: 2}}, bad: {inner: {size: 0}}}\n")
    sections = {"seed": int, "inner": Inner}
    loaded = load_sections(path, "experiments", "smoke", sections)
    assert (loaded.seed, loaded.inner) == (3, Inner(2))
    with pytest.raises(InputError, match=r"bad.seed: missing.*also.*bad.inner.size: 0 is out"):
        load_sections(path, "experiments", "bad", sections)


def test_options_at_their_default_are_left_out_and_may_be():
    old = {"size": 3}
    config = build(Grown, old, "here")
    assert config == Grown(3) and leave_out_defaults(config) == old
    changed = override(config, {"more": {"a": 1}}, "here")
    assert leave_out_defaults(changed) == {"size": 3, "more": {"a": 1}}
    assert build(Grown, leave_out_defaults(changed), "here") == changed


def test_an_entry_of_two_kinds_is_a_list_or_a_mapping():
    config = build(Grown, {"size": 1, "either": [["a", "b"], {"size": 4}]}, "here")
    assert config.either == (("a", "b"), Inner(4))
    value = {"size": 1, "either": [7, {"sise": 4}]}
    assert faults(value, Grown).split("; also ") == [
        "here.either[0]: expected a list, found the int 7",
        "here.either[1].sise: unknown key; did you mean 'size'?",
        "here.either[1].size: missing; add it",
    ]
