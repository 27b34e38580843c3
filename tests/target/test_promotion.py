"""Promotions in the stream: by verdicts, by commands, and because a champion fails; each with its rows."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import orjson
import pytest

from dataflows.pipeline import run_inline
from tests.target.promotions import NAME, command, fleet, recording, with_commands


@cache
def proposed() -> dict[str, list[dict[str, Any]]]:
    """The recording under ``propose``."""
    return run_inline(fleet("propose"), recording())


def changes(rows: dict[str, list[dict[str, Any]]], *kinds: str) -> list[dict[str, Any]]:
    return [row for row in rows["changes"] if row["change"] in (kinds or ("champion", "verdict", "command"))]


def test_a_better_challenger_is_promoted_and_serves_from_the_next_record_on() -> None:
    """The verdict has its evidence; the champion's row follows; predictions name the new model after it."""
    rows = run_inline(fleet(), recording())
    first, verdict, champion = changes(rows)
    assert (first["change"], first["model"]) == ("champion", "prior")
    assert (verdict["change"], verdict["model"], verdict["verdict"]) == ("verdict", "bayes", "better")
    assert verdict["next"] == "nothing: it becomes champion"
    evidence = verdict["evidence"]
    assert max(evidence["e_values"]) >= evidence["needed"] == 2 / (0.05 / 2)
    assert evidence["interval"][0] < evidence["difference"] < evidence["interval"][1]
    assert (champion["change"], champion["model"]) == ("champion", "bayes")
    assert champion["why"].startswith("judge: better by")
    assert champion["sequence"] >= verdict["sequence"]
    served = [(row["sequence"], row["model"]) for row in rows["predictions"]]
    assert {model for sequence, model in served if sequence < champion["sequence"]} == {"prior"}
    assert {model for sequence, model in served if sequence >= champion["sequence"]} == {"bayes"}


def test_no_better_challenger_is_promoted() -> None:
    """Where the best model is champion, nothing happens."""
    rows = run_inline(fleet(champion="bayes"), recording())
    assert [row["model"] for row in changes(rows)] == ["bayes"]


def test_what_is_proposed_waits_for_a_person() -> None:
    """With ``propose`` the verdict is a proposal: the champion stays until a command accepts it."""
    rows = proposed()
    _, verdict = changes(rows)
    assert verdict["next"] == "a command accepts or refuses the proposal"
    assert {row["model"] for row in rows["predictions"]} == {"prior"}
    at = verdict["sequence"] + 10
    rows = run_inline(fleet("propose"), with_commands({at: command("accept", why="looks right")}))
    *_, obeyed, champion = changes(rows)
    assert (obeyed["change"], obeyed["action"], obeyed["refused"]) == ("command", "accept", None)
    assert (champion["model"], champion["why"]) == ("bayes", "accept by ada: looks right")


def test_a_refused_proposal_begins_its_comparison_again() -> None:
    """After a refusal the challenger needs new evidence, at a smaller level."""
    _, verdict = changes(proposed())
    at = verdict["sequence"] + 10
    lines = with_commands({at: command("refuse")}, recording(500))
    first, second = changes(run_inline(fleet("propose"), lines), "verdict")
    assert first == verdict
    assert second["sequence"] > at
    assert second["evidence"]["level"] < first["evidence"]["level"]
    assert second["evidence"]["examples"] < first["evidence"]["examples"] + 10 * 500 - at


def test_without_promotion_nothing_is_compared() -> None:
    """With ``off`` there is no verdict and no evidence; commands work."""
    rows = run_inline(fleet("off"), with_commands({1_000: command("promote", model="bayes")}))
    assert [row["change"] for row in changes(rows)] == ["champion", "command", "champion"]
    assert "promotion" not in rows["summary"][1]["targets"][NAME]


def test_commands_promote_and_go_back() -> None:
    """A forced promotion serves from the next record on; a rollback brings the former champion back."""
    rows = run_inline(
        fleet("off"),
        with_commands({1_000: command("promote", model="bayes"), 2_000: command("rollback", why="worse")}),
    )
    told = [(row["sequence"], row.get("model"), row["why"]) for row in changes(rows, "champion")]
    assert told == [
        (1, "prior", "configured"),
        (1_002, "bayes", "promote by ada"),
        (2_003, "prior", "rollback by ada: worse"),
    ]
    served = [row["model"] for row in rows["predictions"]]
    assert [one for one, other in pairwise(served) if one != other] == ["prior", "bayes"]


def test_a_frozen_champion_stays() -> None:
    """While it is frozen, a better challenger is proposed; once it is thawed, it is promoted."""
    rows = run_inline(fleet(), with_commands({500: command("freeze")}))
    verdicts = changes(rows, "verdict")
    assert {row["model"] for row in rows["predictions"]} == {"prior"}
    assert verdicts[0]["next"] == "a command accepts the proposal, or thaws the champion, which ada froze"
    thaw = verdicts[0]["sequence"] + 200
    rows = run_inline(fleet(), with_commands({500: command("freeze"), thaw: command("thaw")}))
    assert [row["change"] for row in changes(rows)] == [
        "champion",
        "command",
        "verdict",
        "command",
        "verdict",
        "champion",
    ]


#: A model that breaks after it has learned 500 examples.
BREAKING = """
[models.breaking]
pipeline = [{ estimator = "tests.target.learners.Breaking", after = 500, how = "score" }]
"""


@pytest.mark.parametrize(("promotion", "left"), [("auto", "prior"), ("propose", "breaking")])
def test_a_champion_that_fails_gives_way_to_the_one_before_it(promotion: str, left: str) -> None:
    """With ``auto`` the former champion is back at once when the present one is set aside; else it stays."""
    lines = with_commands({300: command("promote", model="breaking")}, recording()[:1_200])
    rows = run_inline(fleet(promotion, more=BREAKING), lines)
    aside = next(row for row in rows["changes"] if row["change"] == "put_aside")
    *_, last = changes(rows, "champion")
    assert last["model"] == left
    if left == "prior":
        assert last["why"].startswith("breaking was set aside: ArithmeticError: cannot score that")
        assert 0 <= last["sequence"] - aside["sequence"] <= 2


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (command("promote", model="bays"), "there is no model 'bays', only bayes, prior"),
        (command("promote", model="prior"), "prior is champion"),
        (command("rollback"), "there is no former champion at work"),
        (command("accept"), "nothing is proposed"),
        (command("refuse", model="bayes"), "nothing is proposed"),
    ],
)
def test_an_impossible_command_is_refused_in_words(given: bytes, refused: str) -> None:
    """The row of a command says why it was not obeyed; the champion stays."""
    rows = run_inline(fleet("off"), with_commands({100: given}, recording()[:400]))
    assert [row["refused"] for row in changes(rows, "command")] == [refused]
    assert len(changes(rows, "champion")) == 1


def test_a_command_to_nobody_is_rejected() -> None:
    """A command to a target that the fleet does not have is a reject that names the nearest one."""
    given = orjson.dumps({"kind": "command", "target": "pump/leak/24h", "action": "freeze", "by": "ada"})
    rows = run_inline(fleet("off"), [*recording()[:10], given])
    (reject,) = rows["rejects"]
    assert reject["reason"] == "unknown_target"
    assert NAME in reject["detail"]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"action": "reboot"}, "action: expected one of promote, rollback"),
        ({"action": "promote"}, "model: expected the name of the model to promote"),
        ({"action": "freeze", "by": None}, "by: expected a text"),
    ],
)
def test_a_malformed_command_is_rejected(fields: dict[str, object], detail: str) -> None:
    """What is no command is a reject that says what was expected."""
    given = orjson.dumps({"kind": "command", "target": NAME, "by": "ada", **fields})
    (reject,) = run_inline(fleet("off"), [*recording()[:10], given])["rejects"]
    assert (reject["reason"], reject["detail"][: len(detail)]) == ("malformed", detail)


def test_the_summary_shows_the_evidence_so_far() -> None:
    """The section of a target has what is frozen and proposed, and the evidence for each challenger."""
    rows = run_inline(fleet("propose"), with_commands({500: command("freeze")}))
    shown = rows["summary"][1]["targets"][NAME]["promotion"]
    assert (shown["frozen"], shown["proposal"]) == ("ada", "bayes")
    assert shown["challengers"]["bayes"]["horizons_left"] == 0.0
