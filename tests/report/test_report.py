"""The report of a run: what the page says, and that data cannot speak through it."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.alert_lives import Labels, alert_lives
from dataflows.evaluation.words import NARROW, day, moment, percent, target_in_words
from dataflows.fleet import FleetError, load
from dataflows.fleet.fleet import Costs
from dataflows.instants import HOUR, format_instant
from dataflows.report.facts import ReportError, TargetFacts, gather
from dataflows.report.findings import (
    act_or_wait,
    ages_in_words,
    answers,
    before_labels,
    belief,
    change_in_words,
    not_checked,
    risks,
)
from dataflows.report.page import render, write_report
from tests.processes import ROOT
from tests.report.pumps import FLEET, START, pumps

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><b>", "a & b ' c"]


class Elements(HTMLParser):
    """Elements of a page with their attributes, and all text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._raw = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text.append(data)

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return pumps(tmp_path_factory.mktemp("pumps"))


@pytest.fixture(scope="module")
def page(fleet: Fleet) -> str:
    return render(gather(fleet.output.folder, fleet))


def test_pages_come_in_the_order_in_which_they_are_needed(page: str) -> None:
    """Risk first, then belief, assets, models, data, and what was not checked."""
    sections = [attributes.get("id") for attributes in Elements(page).tags("section")]
    assert sections == ["risk", "belief", "assets", "models", "health", "gaps"]


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    """No element names another file or host, and the policy forbids to load one."""
    elements = Elements(page)
    assert not elements.tags("link")
    for _, attributes in elements.found:
        assert not {"src", "data", "action", "srcset"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert "default-src &#39;none&#39;" in page


def test_the_policy_names_the_digest_of_the_script_in_the_page(page: str) -> None:
    """A browser runs the script only if the digest fits to the byte."""
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page


def test_hostile_names_of_assets_are_shown_as_text(tmp_path: Path) -> None:
    """A name with an element, an end of script or a quote makes no element and no attribute."""
    hostile = pumps(tmp_path, HOSTILE, days=8)
    shown = render(gather(tmp_path / "out", hostile))
    calm = render(gather(tmp_path / "out", None))
    for text in (shown, calm):
        elements = Elements(text)
        assert not elements.tags("img")
        assert not [name for _, found in elements.found for name in found if name.startswith("on")]
        kinds = [attributes.get("type") for attributes in elements.tags("script")]
        assert kinds == ["application/json", *["text/plain"] * 4, None]
        said = "".join(elements.text)
        assert all(name in said for name in HOSTILE)


def test_the_numbers_of_a_timeline_are_the_extremes_of_each_interval(fleet: Fleet, page: str) -> None:
    """What the script unpacks are the readings of the recording: none is lost or made up."""
    facts = gather(fleet.output.folder, fleet)
    [numbers] = re.findall(r'id="numbers-0">([^<]*)<', page)
    unpacked = np.frombuffer(base64.b64decode(numbers), dtype="<f4").reshape(-1, 2, facts.grid.count)
    asset = facts.assets[0]
    assert [series.name for series in asset.series] == ["pump/leak/12h", "pressure", "flow"]
    assert asset.series[1].unit == "bar"
    lines = (fleet.path.parent / "events.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    pressure = [
        row["readings"]["pressure"] for row in rows if row["asset"] == asset.name and "readings" in row
    ]
    assert np.nanmin(unpacked[1, 0]) == np.float32(min(pressure))
    assert np.nanmax(unpacked[1, 1]) == np.float32(max(pressure))
    for place, series in enumerate(asset.series):
        assert np.array_equal(unpacked[place], np.stack([series.low, series.high]), equal_nan=True)


def test_late_messages_are_those_behind_a_newer_one(fleet: Fleet) -> None:
    """Of 37 messages of a pump one comes two hours after its time; the next two overtake it."""
    facts = gather(fleet.output.folder, fleet)
    late = {asset.name: asset.late_count for asset in facts.assets}
    assert late == dict.fromkeys(["pump-1", "pump-2", "pump-3", "pump-4"], 13)
    assert facts.lateness is not None
    assert facts.lateness.late == 52


def test_a_message_from_the_future_makes_no_other_late(tmp_path: Path) -> None:
    """A wrong clock is rejected by the run, so what follows it is on time here as well."""
    calm = pumps(tmp_path, days=4)
    wild = orjson.dumps(
        {
            "kind": "telemetry",
            "asset": "pump-1",
            "time": format_instant(START + 4000 * HOUR),
            "readings": {"pressure": 1.0},
            "arrived": format_instant(START),
        }
    )
    before = gather(tmp_path / "out", calm).lateness
    path = tmp_path / "events.jsonl"
    path.write_bytes(wild + b"\n" + path.read_bytes())
    after = gather(tmp_path / "out", calm).lateness
    assert before is not None
    assert after is not None
    assert after.late == before.late


def test_without_the_fleet_a_report_says_what_it_lacks(fleet: Fleet) -> None:
    """Outputs alone make a page; readings, advice and prices are named among the gaps."""
    facts = gather(fleet.output.folder, None)
    said = " ".join(not_checked(facts))
    assert "no fleet.toml was given" in said
    assert "thresholds are 0.5" in said
    assert all(series.is_score for asset in facts.assets for series in asset.series)
    assert "the seal" not in render(facts)


def test_a_risk_says_where_to_look_and_whether_to_act(fleet: Fleet) -> None:
    """Advice, what moved the score, what such scores were worth, and both prices."""
    facts = gather(fleet.output.folder, fleet)
    assert facts.risks
    text = " ".join("".join(Elements(render(facts)).text).split())
    assert "Look at: the seal" in text
    assert re.search(r"Of \d+ such alerts that are decided, \d+ led to a leak", text)
    assert re.search(r"(Act now|Wait): acting costs", text)
    first = facts.risks[0]
    assert first.asset in answers(facts)[0].answer
    assert target_in_words(first.target) in answers(facts)[0].answer


def test_failures_are_told_with_when_they_were_visible(fleet: Fleet) -> None:
    """Once the model has learned, an alert stands before a leak; the first leaks come unseen."""
    facts = gather(fleet.output.folder, fleet)
    failures = [failure for asset in facts.assets for failure in asset.failures]
    seen = [failure for failure in failures if failure.visible is not None]
    assert len(failures) > len(seen) > 4
    assert all(failure.visible is not None and failure.visible < failure.time for failure in seen)
    [target] = facts.targets.values()
    assert (target.failures, target.warned) == (len(failures), len(seen))


def test_the_verdict_needs_failures(tmp_path: Path) -> None:
    """Two days without a failure say nothing of a model."""
    few = pumps(tmp_path, days=3)
    facts = gather(tmp_path / "out", few)
    [target] = facts.targets.values()
    assert belief(target)[0] in {"Too early to say", "Not known yet"}


def test_an_alert_that_stands_until_the_failure_led_to_it() -> None:
    """Its opening may lie further back than the horizon; the same alert cleared by its score did not."""
    labels = Labels()
    labels.add("a", "pump/leak/12h", START + 30 * HOUR, START + 90 * HOUR, 6.0)
    rows = [
        {"id": "1", "state": "opened", "time": format_instant(START), "why": "score"},
        {"id": "1", "state": "cleared", "time": format_instant(START + 36 * HOUR), "why": "failure"},
        {"id": "2", "state": "opened", "time": format_instant(START), "why": "score"},
        {"id": "2", "state": "cleared", "time": format_instant(START + 9 * HOUR), "why": "score"},
        {"id": "3", "state": "opened", "time": format_instant(START + 200 * HOUR), "why": "score"},
    ]
    common = {"asset": "a", "target": "pump/leak/12h", "score": 0.5}
    opened = {"1": START, "2": START, "3": START + 200 * HOUR}
    lives = alert_lives(
        [row | common | {"opened": format_instant(opened[row["id"]])} for row in rows], labels
    )
    assert [(life.outcome, life.lead) for life in lives] == [
        ("failure", 36.0),
        ("none", None),
        ("unknown", None),
    ]


def test_acting_pays_from_the_break_even_precision_on() -> None:
    """At that share of right alerts acting and waiting cost the same; above it acting is cheaper."""
    costs = Costs(missed=5000, false_alarm=300, repair=800)
    week = 7 * 24 * HOUR
    at = act_or_wait(costs.break_even, week, costs)
    assert at.act == pytest.approx(at.wait)
    assert act_or_wait(costs.break_even + 0.01, week, costs).act_now
    assert not act_or_wait(costs.break_even - 0.01, week, costs).act_now


def test_a_short_horizon_grows_to_a_week_by_its_hazard() -> None:
    """Half a week at 10 % is 19 % a week."""
    found = act_or_wait(0.1, 84 * HOUR, Costs(missed=100, false_alarm=1))
    assert found.risk == pytest.approx(0.19)


def test_a_planned_repair_costs_less_than_the_failure(tmp_path: Path) -> None:
    """Else acting would never be worth it, which is a typing error."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET.replace("repair = 800", "repair = 5000"))
    with pytest.raises(FleetError, match=r"less than a failure costs, 5000"):
        load(path)


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    """The message says what to do."""
    with pytest.raises(ReportError, match="run a fleet"):
        gather(tmp_path, None)


def test_the_command_writes_the_report_beside_the_outputs(tmp_path: Path) -> None:
    """From the fleet, and from the folder of the outputs; the path is printed."""
    pumps(tmp_path, days=4)
    said = CliRunner().invoke(app, ["report", str(tmp_path / "fleet.toml")])
    assert said.exit_code == 0
    assert "report.html" in said.output
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    CliRunner().invoke(app, ["report", str(tmp_path / "out"), "--to", str(tmp_path / "other.html")])
    assert (tmp_path / "other.html").exists()


def test_a_hundred_assets_over_a_year_stay_below_three_megabytes(tmp_path: Path) -> None:
    """With a score and four readings every six hours."""
    sensors = [f"s{number}" for number in range(4)]
    (tmp_path / "fleet.toml").write_text(
        FLEET.replace('["pressure", "flow"]', str(sensors)).replace("limits = { pressure", "limits = { s0")
    )
    (tmp_path / "out").mkdir()
    random = np.random.default_rng(0)
    with (
        (tmp_path / "out" / "predictions.jsonl").open("wb") as scores,
        (tmp_path / "events.jsonl").open("wb") as events,
    ):
        for step in range(365 * 4):
            time = format_instant(START + step * 6 * HOUR)
            for asset in range(100):
                row = {"asset": f"pump-{asset:03}", "time": time}
                values = random.random(5)
                scores.write(
                    orjson.dumps(
                        row | {"target": "pump/leak/12h", "score": values[0], "link": "class", "revision": 0},
                        option=orjson.OPT_SERIALIZE_NUMPY,
                    )
                    + b"\n"
                )
                readings = dict(zip(sensors, values[1:].tolist(), strict=True))
                events.write(orjson.dumps(row | {"kind": "telemetry", "readings": readings}) + b"\n")
    path = write_report(tmp_path / "out", load(tmp_path / "fleet.toml"))
    assert path.stat().st_size < 3_000_000
    text = path.read_text()
    data = re.sub(
        r'<script type="text/plain".*?</script>|<script type="application/json".*?</script>', "", text
    )
    data = re.sub(r'<div class="plot">.*?</div>', "", data)
    assert len(data) < 300_000


BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


#: As `npm install --prefix build axe-core` puts it.
AXE = ROOT / "build" / "node_modules" / "axe-core" / "axe.min.js"
_CHECK = """
document.querySelectorAll("details").forEach(each => { each.open = true });
axe.run(document, { resultTypes: ["violations"] }).then(found => {
  const told = found.violations.map(each => [each.id, each.nodes.length, each.nodes[0].html.slice(0, 200)]);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const seen = { dark, width: innerWidth, passes: found.passes.length };
  document.body.setAttribute("data-axe", JSON.stringify({ told, ...seen }));
});
"""


def browse(folder: Path, page: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a browser without a window; what it drew is in the output, its console in the errors."""
    path = folder / "report.html"
    path.write_text(page)
    return subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=4000",
            *flags,
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
@pytest.mark.skipif(not AXE.exists(), reason="no axe-core: npm install --prefix build axe-core")
@pytest.mark.parametrize("width", [1280, 520])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(tmp_path: Path, page: str, scheme: str, width: int) -> None:
    """With everything unfolded, in both colour schemes, on a wide and on a narrow screen."""
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert without != page
    checked = without.replace(
        "</body>", f"<script>{AXE.read_text()}</script><script>{_CHECK}</script></body>"
    )
    flags = f"--window-size={width},900", f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    [body] = Elements(browse(tmp_path, checked, *flags).stdout).tags("body")
    found = orjson.loads(body["data-axe"])
    assert found["told"] == []
    assert found["dark"] == (scheme == "dark")
    assert found["width"] == pytest.approx(width, abs=20)
    assert found["passes"] > 10


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
def test_a_browser_runs_the_script_without_an_error(tmp_path: Path, page: str) -> None:
    """Timelines that are open get their controls under the page's own policy, and the console stays empty."""
    done = browse(tmp_path, page)
    assert ":CONSOLE" not in done.stderr
    drawn = Elements(done.stdout)
    opened = sum(
        "open" in attributes for attributes in drawn.tags("details") if attributes.get("class") == "asset"
    )
    assert opened == 2
    assert sum(attributes.get("class") == "tools" for attributes in drawn.tags("div")) == opened
    assert sum(attributes.get("class") == "chart live" for attributes in drawn.tags("svg")) == opened


def test_the_error_before_labels_is_told_with_how_it_came_true(fleet: Fleet) -> None:
    """What the scores expect of examples without a label, and how often the loss lay there."""
    facts = gather(fleet.output.folder, fleet)
    rows = facts.metrics["expected"]
    [target] = facts.targets.values()
    waits, came = before_labels(rows, target)
    assert f"{rows[-1]['open']['examples']} examples still wait" in waits
    settled = [row["settled"] for row in rows if row["settled"]["realised"] is not None]
    inside = sum(row["low"] <= row["realised"] <= row["high"] for row in settled)
    assert came.startswith(f"In {inside} of {len(settled)} periods")
    target.looks.clear()
    assert before_labels([], target) == []
    drawn = [attributes.get("aria-label") for attributes in Elements(render(facts)).tags("svg")]
    assert "Log loss expected before labels and as it turned out, leak within 12 hours" in drawn
    assert waits in " ".join("".join(Elements(render(facts)).text).split())


def test_every_kind_of_change_is_told_in_words() -> None:
    """The rows of the reference, which are real: none is shown as raw data, or as nothing."""
    reference = (ROOT / "docs" / "outputs.md").read_text()
    rows = [orjson.loads(line) for line in reference.splitlines() if line.startswith('{"change":')]
    kinds = {row["change"] for row in rows}
    assert {"champion", "verdict", "command", "drift", "clock", "asset_dropped", "migrated"} <= kinds
    for row in rows:
        words = change_in_words(row)
        assert words.endswith(".")
        assert not words.startswith(":")
        assert "{" not in words
        assert "None" not in words


def test_revised_examples_are_told_by_the_age_of_their_score(fleet: Fleet) -> None:
    """From the first score to the last, over the same examples."""
    [target] = gather(fleet.output.folder, fleet).targets.values()
    assert len(target.ages) > 1
    assert target.ages[0].revised == 0 < target.ages[-1].revised
    assert {age.examples for age in target.ages} == {target.examples}
    assert f"of the {target.ages[-1].revised} examples" in ages_in_words(target.ages)


def test_the_answer_to_a_doubt_has_its_reason(fleet: Fleet) -> None:
    """The verdict comes with alerts, failures and how much better than a guess the scores are."""
    facts = gather(fleet.output.folder, fleet)
    [target] = facts.targets.values()
    given = answers(facts)[2]
    verdict = belief(target)[0].partition(":")[0].partition(";")[0]
    assert given.answer == f"{verdict}."
    decided = target.record.failure + target.record.none
    assert f"{target.record.failure} of {decided} alerts led to a failure" in given.reason
    assert f"{target.warned} of {target.failures} failures were visible before" in given.reason
    assert "that of a constant guess" in given.reason
    target.examples, target.positives, target.gain = 0, 0, None
    unknown = answers(facts)[2]
    assert unknown.answer == "Not known yet."
    assert unknown.reason.startswith("No label is known yet; ")


def test_the_answer_to_a_doubt_is_about_the_asset_that_fails_next(fleet: Fleet) -> None:
    """Of several targets the one of the first risk comes first, with its reason; then the others."""
    facts = gather(fleet.output.folder, fleet)
    [target] = facts.targets.values()
    other = TargetFacts("pump/valve_2/1d", target.horizon, target.threshold, None, None)
    facts.targets = {other.name: other, target.name: target}
    given = answers(facts)[2]
    verdict = belief(target)[0].partition(":")[0].partition(";")[0]
    assert given.answer == f"{verdict} for leak."
    assert given.reason.endswith(" Not known yet for failure of valve 2.")


def test_a_risk_that_can_be_believed_comes_before_a_higher_one_in_doubt(fleet: Fleet) -> None:
    """The doubt stands beside the higher score, in the answer and on its card."""
    facts = gather(fleet.output.folder, fleet)
    [target], first = facts.targets.values(), facts.risks[0]
    assert target.gain is not None
    target.gain = target.gain._replace(least=0.1)
    assert belief(target)[0].startswith(("Yes", "Mostly"))
    other = TargetFacts("pump/valve_2/1d", target.horizon, target.threshold, None, None)
    facts.targets[other.name] = other
    facts.risks.insert(0, first._replace(target=other.name, score=0.999))
    assert risks(facts)[0] is first
    which, _, believe, _ = answers(facts)
    assert which.answer.startswith(f"{first.asset}: {percent(first.score)} for leak")
    assert f"Also {percent(0.999)} for failure of valve 2. Believe that? Not known yet." in which.reason
    assert believe.answer.endswith(" for leak.")
    text = " ".join("".join(Elements(render(facts)).text).split())
    assert "Should you believe it? Not known yet: no label is known yet." in text


def test_an_asset_that_failed_after_its_last_score_is_not_at_risk(fleet: Fleet) -> None:
    """Its score is in the past; where all have failed, or no failure was ever seen, the answer says so."""
    facts = gather(fleet.output.folder, fleet)
    [target] = facts.targets.values()
    asset = next(each for each in facts.assets if each.failures)
    [(name, (_, score))] = asset.scores.items()
    failed = asset.failures[-1].time
    asset.scores[name] = failed - 1, score
    assert asset.failed_after(name) == failed
    text = " ".join("".join(Elements(render(facts)).text).split())
    assert f"{asset.name} leak on {day(failed)}, last score {percent(score)}".replace(NARROW, " ") in text
    facts.risks.clear()
    target.down = facts.assets_in_all
    assert answers(facts)[0].answer == "None: all have failed."
    target.down = target.warned = 0
    assert f"all {target.failures} failures came without a warning" in answers(facts)[0].reason


def test_since_when_comes_with_what_was_seen(fleet: Fleet) -> None:
    """The time of the first risk's alert, and the reading that moved the score most."""
    facts = gather(fleet.output.folder, fleet)
    first = facts.risks[0]
    assert first.alert is not None
    given = answers(facts)[1]
    assert given.answer.startswith(f"Since {moment(first.since)}, ")
    assert given.reason.startswith(f"{first.asset}: pressure ")
    facts.risks.clear()
    assert answers(facts)[0].answer == "None stands out."
    assert answers(facts)[1].reason.startswith("The latest failure, of pump-")


def test_what_lies_below_the_screen_does_not_delay_the_first_paint(page: str) -> None:
    """Sections are laid out when they are scrolled to, and late data is one element a timeline."""
    assert "section + section { content-visibility: auto;" in page
    assert "section + section { content-visibility: visible;" in page.partition("@media print")[2]
    late = [found for name, found in Elements(page).found if found.get("class") == "late"]
    assert len(late) == 4
