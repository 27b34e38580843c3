"""Every kind of snapshot is declared beside its class, and listed for those who read stores."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import dataflows
from dataflows.connectors.file_sink import StoredFile
from dataflows.recovery.kinds import check, describe, kind_of, kinds
from dataflows.state.snapshots import UNSIGNED, Kind, SnapshotError, seal, sign


def test_every_declared_kind_is_listed() -> None:
    """Each `Kind` in any module of the package is in `kinds`, under a name of its own."""
    declared: dict[int, Kind[object]] = {}
    for found in pkgutil.walk_packages(dataflows.__path__, "dataflows."):
        if found.name != "dataflows.__main__":
            names = vars(importlib.import_module(found.name))
            declared |= {id(each): each for each in names.values() if isinstance(each, Kind)}
    assert sorted(kind.name for kind in declared.values()) == sorted(kinds())
    assert {*declared} == {id(kind) for kind in kinds().values()}


def test_each_version_has_an_upgrade_to_the_next() -> None:
    """The versions that a kind reads have no gap."""
    for kind in kinds().values():
        first = kind.readable[0]
        assert kind.readable == tuple(range(first, kind.version + 1)), kind.name


def test_an_unknown_kind_is_refused() -> None:
    """A release that does not know a kind would lose its state without a word."""
    with pytest.raises(SnapshotError, match="of the kind 'judge', which this release does not know"):
        kind_of(seal("judge", 1, {}))


def test_a_key_must_have_signed_the_models_inside_a_part() -> None:
    """Unsigned models are refused, kinds that run no code are not; without a key nothing is."""
    models, log = seal("models", 1, {}), seal("log", 4, ([], 0))
    unsigned = seal("part", 1, ("leak", 3, models))
    check(unsigned)
    with pytest.raises(SnapshotError, match=UNSIGNED[:40]):
        check(unsigned, b"secret")
    with pytest.raises(SnapshotError, match=UNSIGNED[:40]):
        check(seal("part", 1, ("leak", 3, sign(models, b"other"))), b"secret")
    check(seal("part", 1, ("leak", 3, sign(models, b"secret"))), b"secret")
    check(seal("part", 1, ("leak", 3, log)), b"secret")


def test_a_snapshot_of_an_older_version_is_described_as_one_of_today() -> None:
    """Readers of a store see one form of the input, of files and topics, and of the length of an output."""
    place = [120, 3, 0, -1, b""]
    files = describe(seal("files", 2, (3, 1, [["events.jsonl", place]])))
    topics = describe(seal("kafka", 1, (9, 2, [[], {"events": "id"}, [["events", 0, 9, 5]]])))
    assert files == (3, 1, [("events.jsonl", 120)], {}, [])
    assert topics == (9, 2, [], {"events": "id"}, [("events", 0, 9, 5)])
    assert describe(70) == describe(seal("output", 1, 70)) == StoredFile(70)
