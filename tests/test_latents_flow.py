"""The flow of the latent studies, with stages that have nothing left to do but their outputs."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from test_latents_page import STUDIES, run_stage
from toy_latents import TOY, make_chapter, write_checkout, write_study

from diffusevae.latents.chapter import Headline
from flows import latents as flow


@pytest.fixture
def run(mlflow_store, prefect_server, tmp_path, monkeypatch):
    """Return a function that runs the flow on these targets, in a checkout of toy studies."""
    write_checkout(tmp_path)
    for name in STUDIES[1:]:
        headline = Headline(f"R² of {name}", 0.25, None, None, "one run")
        write_study(tmp_path / "artifacts/toy_study" / name, make_chapter(headlines=(headline,)))
    run_stage(tmp_path / "artifacts/toy_study")
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    ran: list[list[str]] = []
    for name, stand_in in {
        "load_latent_study": lambda name: TOY, "send_unsent": lambda: None,
        "own_checkout": nullcontext, "serve_recorder": nullcontext, "has_remote": lambda: False,
        "run_stages": lambda study, targets, *others: ran.append(targets),
    }.items():  # fmt: skip
        monkeypatch.setattr(flow, name, stand_in)

    def run_flow(targets: list[str]) -> tuple[flow.Outcome, list[list[str]]]:
        monkeypatch.setattr(flow, "plan", lambda study: targets)
        with temporary_settings({PREFECT_API_URL: prefect_server}):
            return flow.latents("toy_study"), ran

    return run_flow


def test_a_run_publishes_the_page_and_registers_the_model_once(run, mlflow_store, caplog):
    targets = ["overview@toy_study"]
    outcome, ran = run(targets)
    assert ran == [targets]
    assert outcome.report == Path("reports/toy_study.html").absolute()
    assert "What an autoencoder" in outcome.report.read_text()
    assert (outcome.model.name, outcome.model.version) == ("latents-toy_study", "1")
    [parent] = mlflow_store.search_runs(
        [mlflow_store.get_experiment_by_name("toy_study").experiment_id])  # fmt: skip
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {
        "beta_vae/a score": 0.123456, "beta_vae/a count": 7.0, "sprites/R of sprites": 0.25,
        "spectra/R of spectra": 0.25, "autoencoders/R of autoencoders": 0.25}  # fmt: skip
    files = {file.path for file in mlflow_store.list_artifacts(parent.info.run_id)}
    assert files == {"toy_study.html", "dvc.lock"}
    outcome.report.unlink()
    again, ran = run([])
    assert again == outcome and again.report.is_file()
    assert len(ran) == 1 and "nothing changed: every stage of 'toy_study'" in caplog.text
    assert len(mlflow_store.search_model_versions("name = 'latents-toy_study'")) == 1
