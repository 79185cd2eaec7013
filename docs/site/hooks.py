"""What makes of docs, as one reads them in the repository, pages of a site.

The repository's own texts beside docs become pages too, a link to a folder one to its README, and
whatever results are published stand in the navigation.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

BESIDE = (  # by path in the repository, as which each is in the site too
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "params.yaml",
    "src/diffusevae/latents/spectra/SPECTRA.md",
)
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=(?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the published results to their part of the navigation."""
    docs = Path(config.docs_dir)
    (results,) = (part["Results"] for part in config.nav or [] if "Results" in part)
    results += sorted(str(path.relative_to(docs)) for path in docs.glob("results/**/README.md"))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the texts beside docs."""
    root = Path(config.docs_dir).parent
    for name in BESIDE:
        files.append(File.generated(config, name, content=(root / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page whose links lead to where the site has what they name."""
    docs = Path(config.docs_dir)
    uri = page.file.src_uri
    place = posixpath.dirname(uri if uri in BESIDE else f"{docs.name}/{uri}")

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(place, found[1]))
        if (docs.parent / target).is_dir():
            target = f"{target}/README.md"
        target = "docs/index.md" if target == "README.md" else target
        inside = target.removeprefix(f"{docs.name}/")
        if inside == target and target not in BESIDE:
            return found[0]  # of which the strict build says that it leads nowhere
        return posixpath.relpath(inside, posixpath.dirname(uri) or ".")

    return LINK.sub(lead, markdown)
