"""Hooks of mkdocs: the site also has pages and files from outside of ``docs``, and the commands' own help.

A page may link any file of the repository, as it does on a code host. What it links becomes part of the site:
a Markdown file as a page, a folder as the page of its README, all else as it is.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

ROOT = Path(__file__).resolve().parent.parent
#: Pages of the menu that nothing has to link.
ALWAYS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/backblaze/README.md",
    "k8s/README.md",
    "recovery/README.md",
)
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that pages link, and the reference of the commands."""
    files.append(File.generated(config, "commands.md", content=_commands()))
    waiting = [*ALWAYS, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting) | {"docs/commands.md"}
    while waiting:
        page = waiting.pop()
        if page == "docs/commands.md":
            continue
        if not page.startswith("docs/"):
            files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
        if page.endswith(".md"):
            linked = {target for _, link in _links(ROOT / page) if (target := _target(page, link))}
            waiting += sorted(linked - seen)
            seen |= linked
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links of the repository into links of the site."""
    here = page.file.src_uri
    source = here if (ROOT / here).exists() else f"docs/{here}"

    def rewritten(match: re.Match[str]) -> str:
        target = _target(source, match[2])
        if target is None:
            return match[0]
        site = posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(here) or ".")
        return f"{match[1]}{site}{match[3] or ''}{match[4]}"

    return _LINK.sub(rewritten, markdown)


def _links(page: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [(match[1], match[2]) for match in _LINK.finditer(text)]


def _target(page: str, link: str) -> str | None:
    """Return the path in the repository that a link of a page leads to; None where it leads elsewhere."""
    if "://" in link or link.startswith("mailto:"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if path == "docs/commands.md":
        return path
    if path == "README.md" and (ROOT / page).exists():
        return "docs/index.md"
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    return path if (ROOT / path).is_file() else None


@cache
def _commands() -> str:
    """Help of all commands, as typer writes it."""
    words = [sys.executable, "-m", "typer", "dataflows.__main__", "utils", "docs", "--name", "highwater"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)  # noqa: S603
    text = done.stdout.replace("# `highwater`", "# Commands", 1)
    return text.replace(
        "**Usage**", "`highwater` and `python -m dataflows` are the same command.\n\n**Usage**", 1
    )
