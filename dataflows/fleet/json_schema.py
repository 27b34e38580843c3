"""Write the JSON Schema of ``fleet.toml``, by which editors complete keys and mark mistakes.

``python -m dataflows.fleet.json_schema > dataflows/fleet/fleet.schema.json`` writes the file that is shipped;
a test keeps it up to date. A first line ``#:schema PATH`` in a ``fleet.toml`` names it to editors with taplo.
The schema holds the form of each value. What needs more than one value, such as a name that has to exist, is
checked by ``python -m dataflows check``.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson

from dataflows.fleet.schema import Document
from dataflows.fleet.values import DURATION_PATTERN
from dataflows.instants import format_duration
from dataflows.mapping.rules import Rule

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """Return the schema: draft 2020-12, durations and times as they are written in TOML.

    >>> schema = json_schema()
    >>> schema["properties"]["metrics_every"]["default"]
    '7d'
    >>> schema["additionalProperties"]
    False
    """
    schema = Document.model_json_schema(by_alias=True)
    rules = Rule.model_json_schema(by_alias=True)
    schema["$defs"] |= rules.pop("$defs")
    schema["$defs"]["Rule"] = rules
    schema["$defs"]["InputTable"]["properties"]["map"]["items"] = {"$ref": "#/$defs/Rule"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_as_written(schema),
        "title": "fleet.toml of Highwater",
    }


def _as_written(part: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """A part of the schema as TOML writes values: without null, and with durations as text."""
    if isinstance(part, list):
        return [_as_written(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {
        key: _as_written(value) for key, value in part.items() if key != "title" or isinstance(value, dict)
    }
    choices = [each for each in made.get("anyOf", ()) if each != {"type": "null"}]
    if "anyOf" in made:
        del made["anyOf"]
        made |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    if "default" in made and made["default"] is None:
        del made["default"]
    if made.get("pattern") == DURATION_PATTERN and isinstance(made.get("default"), int):
        made["default"] = format_duration(made["default"])
    return made


if __name__ == "__main__":
    sys.stdout.buffer.write(
        orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
