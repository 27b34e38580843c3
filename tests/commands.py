"""Commands of ours that documents show, parsed as a shell and our command line parse them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from typing import Any

import pytest
import typer
from bytewax.run import _parse_args  # the engine's own; it is public nowhere

from dataflows.__main__ import app
from tests.processes import ROOT

#: In a command that is not whole.
OPEN = re.compile(r"\.\.\.")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """Words of every command of ours on a page: `python -m ...` and `make ...`, in blocks and in text."""
    text = read(page)
    lines = [line for block in fenced(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [found.replace("\n", " ") for found in re.findall(r"`((?:python -m|make) [^`]+)`", outside)]
    found = []
    for line in lines:
        command = line[line.index("python -m") :] if "python -m" in line else line.strip()
        if command.startswith(("python -m", "make ")) and not OPEN.search(command):
            found.append(shlex.split(re.split(r"\s>\s|\s\|\s|\s&&\s|\s&$", command)[0], comments=True))
    return found


def assert_parses(words: list[str]) -> None:
    """The program that a command names takes these arguments."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE)
        assert all(word in targets or "=" in word for word in words[1:]), words
        return
    module, arguments = words[2], words[3:]
    if not arguments:
        # Running text names the program alone.
        assert importlib.util.find_spec(module) is not None, words
    elif module == "bytewax.run":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [module, *arguments])
            _parse_args()
    elif module == "dataflows":
        group: Any = typer.main.get_command(app)
        context = group.make_context("dataflows", list(arguments), resilient_parsing=True)
        name, command, rest = group.resolve_command(context, list(arguments))
        if rest:
            # Running text also names a command alone.
            command.make_context(name, rest, parent=context)
    else:
        assert importlib.util.find_spec(module) is not None, words
