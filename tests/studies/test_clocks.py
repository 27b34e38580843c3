"""Clock health against a simulated fleet's truth, with delays, copies, outages and wild stamps."""

from __future__ import annotations

from studies.clocks import ACCUSED, FOUND, found, scenario


def test_wrong_clocks_are_found_within_fifty_events_and_honest_ones_left_in_peace() -> None:
    """Of clocks wrong by more than 10 min at least 95 % are found; of honest ones at most 1 % are accused."""
    health = found(scenario(trucks=120, days=10, seed=11))
    assert health.wrong > 30
    assert health.honest > 40
    assert health.share_found >= FOUND
    assert health.share_accused <= ACCUSED
