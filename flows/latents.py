"""The latent studies: what an autoencoder's code means, with all that they need.

Without PREFECT_API_URL, a Prefect server is started for the time of the run. What is up to date is
not done again.
"""

from prefect import flow, get_run_logger

from diffusevae.core.disk import require_writable
from diffusevae.experiments.experiment import LatentStudy, load_latent_study
from diffusevae.latents.page import chapter
from diffusevae.stages.names import LATENTS
from diffusevae.tracking.sender import send_unsent
from flows.pipeline import Outcome, hand_on, plan, pull_results, record, run_stages
from flows.prefect_server import server_at_hand
from flows.worker import end_with_worker
from tasks.artifacts import Artifacts
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.lock import LOCK, read_lock
from tasks.dvc.process import has_remote
from tasks.parent_run import close_abandoned, open_parent_run, require_mlflow
from tasks.recording import serve_recorder
from tasks.registry.latents import find_version, register
from tasks.registry.registration import is_recorded
from tasks.report.publication import REPORTS, publish
from tasks.terminal import show_outcome

PAGE = LATENTS[-1]  # the stage that shows what the others found


@flow(name="latents", flow_run_name="{study}")
def latents(study: str = "latents") -> Outcome:
    """Bring a latent study's page and registered model up to date.

    Raises InputError, EnvironmentFailure or StageFailure; each says in one line what to do.
    """
    end_with_worker()
    chosen = load_latent_study(study)
    with own_checkout():
        require_writable(REPORTS)
        send_unsent()
        close_abandoned(study)
        reached = has_remote() and pull_results(chosen)
        targets = plan(chosen, read_lock())
        version = None if targets else find_version(chosen)
        if version and is_recorded(version):
            get_run_logger().info(f"nothing changed: every stage of '{study}' is up to date")
            outcome = Outcome(publish(chosen), version)
            hand_on(chosen, version, reached)
        else:
            outcome = bring_up_to_date(chosen, targets, reached)
            hand_on(chosen, outcome.model, has_remote())
    return outcome


def bring_up_to_date(study: LatentStudy, targets: list[str], remote: bool) -> Outcome:
    """Run the targets, register and record what they made; remote: whether DVC's answers."""
    with open_parent_run(study.name, study.dataset) as parent:
        shown = Artifacts(study.name, len(targets))
        with serve_recorder() as recorder:
            run_stages(study, targets, parent, recorder, shown, remote)
        page = publish(study)
        version = register(study, parent.id)
        headlines = read_headlines(study)
        record(headlines, headlines, parent, shown, version, [page, LOCK])
    return Outcome(page, version)


def read_headlines(study: LatentStudy) -> dict[str, float]:
    """Return the main number of every study under names that MLflow takes, e.g. sprites/MIG."""
    headlines: dict[str, float] = {}
    for stage in LATENTS:
        if stage != PAGE:
            found = chapter.read_chapter(study.output(stage, chapter.FILE).parent)
            headlines |= {f"{stage}/{one.name}": one.value for one in found.headlines}
    return chapter.name_metrics(headlines)


def run(study: str) -> None:
    """Run a latent study; say where its page and model are.

    Raises InputError, EnvironmentFailure or StageFailure.
    """
    require_checkout()
    with server_at_hand(lambda: _prepare(study)):
        outcome = latents(study)
    show_outcome(outcome.report, outcome.model)
    print(f"sliders diffusevae explore {study}", flush=True)


def _prepare(study: str) -> None:
    load_latent_study(study)
    require_mlflow()
