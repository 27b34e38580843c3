"""The documentation as a site: it is built without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import html.parser
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.ci


#: What a link of a head is, where a browser fetches it, or prepares to.
FETCHED = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


class _Links(html.parser.HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.links |= {values[name] for name in ("href", "src") if name in values}
        fetched = {"src"} | ({"href"} if tag == "link" and values.get("rel") in FETCHED else set())
        self.fetched |= {values[name] for name in fetched if name in values}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """Pages, pictures, files and anchors."""
    pages = {page: _Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 30
    broken = []
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert "\n".join(sorted(broken)) == ""


def test_the_site_has_every_command_and_public_name(site: Path) -> None:
    """The reference is made from the program."""
    commands, api = (site / "commands.html").read_text(), (site / "api.html").read_text()
    assert all(f"highwater {name}" in commands for name in ("run", "init", "status", "replay", "thresholds"))
    assert all(f'id="dataflows.api.{name}"' in api for name in ("load", "run", "read", "features", "Run"))
    assert "Outputs.predictions" in api
    assert "check_estimator" in api


def test_nothing_is_fetched_from_the_network(site: Path) -> None:
    """Neither fonts nor scripts nor pictures: it can be read where there is no network."""
    fetched = {each for page in site.rglob("*.html") for each in _Links(page).fetched}
    assert {each for each in fetched if each.startswith(("http", "//"))} == set()
    # The theme asks for these where a page has a diagram.
    assert not [page for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text()]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
def test_pages_that_are_opened_from_a_folder_can_be_searched(site: Path) -> None:
    """A browser starts no worker there; without a network, a script of the site does its work."""
    words = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--proxy-server=127.0.0.1:9",
    ]
    words += ["--virtual-time-budget=20000", "--dump-dom", f"{(site / 'own-data.html').as_uri()}?q=watermark"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert re.search(r"md-search-result__meta\">\d+ matching documents", done.stdout)
