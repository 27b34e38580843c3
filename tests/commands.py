"""Commands of ours that documents show, parsed as a shell and our command line parse them."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest
import typer
from bytewax.run import _parse_args  # the engine's own; it is public nowhere

from dataflows.__main__ import app
from tests.processes import ROOT


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


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
