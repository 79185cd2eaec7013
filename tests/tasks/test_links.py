"""Where MLflow's pages of runs and models lead to."""

import subprocess

import pytest

from tasks.links import find_page, link_commit, link_repository

PAGE = "https://example.org/o/r"


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://example.org/o/r.git", PAGE),
        ("https://example.org/o/r", PAGE),
        ("https://example.org/o/r/", PAGE),
        ("git@example.org:o/r.git", PAGE),
        ("ssh://git@example.org:2222/o/r.git", PAGE),
        ("https://person:pass@example.org/o/r.git", PAGE),
        ("https://ghp_token@example.org/o/r.git", PAGE),
        ("https://x-access-token:gh@p@example.org/o/r.git", PAGE),
        ("https://example.org/o/r.git?private_token=t#t", PAGE),
        ("http://example.org:8443/group/o/r.git", "http://example.org:8443/group/o/r"),
        ("https://example.org/token:secret@/o/r", None),
        ("https://example.org/o/r)[x", None),
        ("https://exa mple.org/o/r", None),
        ("https://example.org:x/o/r", None),
        ("https://example.org/r", None),
        ("file:///srv/git/o/r.git", None),
        ("/srv/git/o/r.git", None),
        ("../o/r", None),
        ("C:/git/o/r", None),
        ("git@example.org:/srv/o/r", None),
        ("https://tok/en@example.org/o/r", None),
        ("", None),
    ],
)
def test_only_a_web_host_s_remote_has_a_page_and_nothing_secret_gets_there(remote, page):
    assert find_page(remote) == page


def test_without_a_page_there_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["init", "--quiet"], ["remote", "add", "origin", str(tmp_path)]):
        assert (link_commit("ab"), link_repository()) == ("`ab`", "")
        subprocess.run(["git", *command], check=True)
    assert (link_commit("ab"), link_repository()) == ("`ab`", "")
    assert link_commit("") == "unknown (no git)"
    subprocess.run(["git", "remote", "set-url", "origin", "git@example.org:o/r.git"], check=True)
    assert link_commit("ab-dirty") == f"[`ab-dirty`]({PAGE}/commit/ab)"
