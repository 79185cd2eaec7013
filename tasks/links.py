"""Links on MLflow's pages, as Markdown: to the code's commit on the web, to what a run keeps.

A commit has a page where the remote `origin` is a web host's: https://HOST/OWNER/REPO, or
git@HOST:OWNER/REPO. A run's pages are named from the one they stand on, wherever MLflow is served.
"""

import re
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # MLflow takes seconds to import
    from mlflow.entities import Run

SCP = re.compile(r"[\w.-]+@(?P<host>[\w.-]+):(?P<path>[^/].*)")  # as git writes ssh addresses
HOST = re.compile(r"[\w.-]+(?::\d+)?")
REPOSITORY = re.compile(r"/?(?P<path>[\w.~+-]+(?:/[\w.~+-]+)+)/?")
SSH = ("ssh", "git+ssh", "ssh+git")


def find_page(remote: str) -> str | None:
    """Return the page of a git remote's repository; None where its address is no web host's.

    Of the address only host and path are taken, and of a web page its port: no user, password or
    token comes along.
    """
    try:
        if scp := SCP.fullmatch(remote):
            scheme, host, path = "https", scp["host"], scp["path"]
        else:
            parts = urlsplit(remote)
            scheme, host, path = parts.scheme, parts.hostname or "", parts.path
            if scheme in SSH:  # its port is not the web's
                scheme = "https"
            elif parts.port is not None:
                host = f"{host}:{parts.port}"
    except ValueError:  # a port that is none
        return None
    found = REPOSITORY.fullmatch(path)
    if scheme not in ("http", "https") or not HOST.fullmatch(host) or not found:
        return None
    return f"{scheme}://{host}/{found['path'].removesuffix('.git')}"


def link_repository() -> str:
    """Return a sentence that says where the code is on the web; an empty one if it is not there."""
    page = _find_origin()
    return f"\nIts code: [{page.partition('://')[2]}]({page})." if page else ""


def link_commit(commit: str) -> str:
    """Return a commit, maybe one -dirty, with a link to its page if it has one; "" is no commit."""
    page = _find_origin()
    if not commit:
        return "unknown (no git)"
    return f"[`{commit}`]({page}/commit/{_clean(commit)})" if page else f"`{commit}`"


def link_file(text: str, run: "Run", file: str) -> str:
    """Return a text as a link to a file among a run's artifacts."""
    return f"[{text}]({_page_of(run)}/artifacts/{file})"


def describe_making(run: "Run", name: str, commit: str) -> str:
    """Return what made a version: a commit, the report and dvc.lock of its run, by links.

    name: the experiment's or study's, after which the report is called.
    """
    before = _find_origin()
    own = f"; before that run it was [the commit's]({before}/blob/{_clean(commit)}/dvc.lock)"
    return (
        f"Code and params: git commit {link_commit(commit)}. Every file from the data on: "
        f"{link_file('`dvc.lock`', run, 'dvc.lock')}, kept beside the "
        f"{link_file('report', run, f'{name}.html')} by the MLflow run "
        f"[`{run.info.run_id}`]({_page_of(run)}){own if before and commit else ''}."
    )


def _page_of(run: "Run") -> str:
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _clean(commit: str) -> str:
    return commit.removesuffix("-dirty")


def _find_origin() -> str | None:
    command = ["git", "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return find_page(done.stdout.strip()) if done.returncode == 0 else None
