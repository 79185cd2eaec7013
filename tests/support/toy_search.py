"""A search whose best values are known."""

from types import SimpleNamespace

from diffusevae.tuning.search import SearchConfig

SPACE = {
    "model": {
        "kind": {"choices": ["good", "bad"]},
        "depth": {"low": 1, "high": 5, "only_if": {"kind": "good"}},
    },
    "optimiser": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
}


BASE = {
    "model": SimpleNamespace(kind="good", depth=3),
    "optimiser": SimpleNamespace(learning_rate=0.02),
}


def make_config(n_trials: int, space=SPACE, **changes) -> SearchConfig:
    values = dict(objective="study", epochs=1, num_images=10, startup_trials=2, warmup_epochs=0)
    return SearchConfig(n_trials=n_trials, space=space, **(values | changes))


def objective(values, number, report) -> None:
    loss = values["optimiser"]["learning_rate"] + (values["model"]["kind"] == "bad")
    report(1, {"study": loss, "fair": -loss, "floor": 0.1})
