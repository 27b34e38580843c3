"""Snapshots: what was sealed comes back, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.state.snapshots import SnapshotError, seal, unseal

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain, st.text(), st.integers(0, 1_000))
def test_what_was_sealed_comes_back(payload: object, kind: str, version: int) -> None:
    """Numbers, texts, bytes, lists and maps are returned equal."""
    assert unseal(kind, version, seal(kind, version, payload)) == payload


def test_arrays_come_back_as_bytes() -> None:
    """Bytes are returned as bytes of their own, not as views into the snapshot."""
    assert type(unseal("some", 1, seal("some", 1, {"array": b"abc"}))["array"]) is bytes


@given(st.data())
def test_every_changed_byte_is_found(data: st.DataObject) -> None:
    """A snapshot in which any one byte differs is refused."""
    sealed = bytearray(seal("some", 1, data.draw(plain)))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotError, match="backup"):
        unseal("some", 1, bytes(sealed))


@given(plain, st.data())
def test_a_snapshot_that_was_cut_off_or_prolonged_is_refused(payload: object, data: st.DataObject) -> None:
    """Less or more bytes than were sealed are no snapshot."""
    sealed = seal("some", 1, payload)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for wrong in (sealed[:cut], sealed + data.draw(st.binary(min_size=1))):
        with pytest.raises(SnapshotError, match="backup"):
            unseal("some", 1, wrong)


@given(st.binary())
def test_any_other_bytes_are_refused(junk: bytes) -> None:
    """Bytes that nobody sealed never become a payload."""
    with pytest.raises(SnapshotError):
        unseal("some", 1, junk)


def test_another_kind_is_refused() -> None:
    """The message names what was expected and what was found."""
    with pytest.raises(SnapshotError, match="expected a snapshot of 'lane', found one of 'group'"):
        unseal("lane", 1, seal("group", 1, {}))


@pytest.mark.parametrize("written", [0, 2, 99])
def test_another_version_is_refused(written: int) -> None:
    """Older and newer versions are refused, with both numbers and what to do."""
    with pytest.raises(
        SnapshotError, match=f"has version {written}, this release reads version 1; resume with"
    ):
        unseal("some", 1, seal("some", written, {}))
