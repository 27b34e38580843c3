"""What the facts of a run mean, in sentences: the answers that a report gives first, and its gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.evaluation.words import (
    NARROW,
    feature_in_words,
    mode_in_words,
    moment,
    number,
    percent,
    plain,
    span,
    target_in_words,
)
from dataflows.instants import HOUR, MICROSECONDS, parse_instant
from dataflows.lane.names import sentence as name_in_words
from dataflows.report.reliability import bin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.evaluation.two_clocks import Age
    from dataflows.fleet.fleet import Costs
    from dataflows.report.facts import Facts, Failure, Record, Risk, TargetFacts

__all__ = [
    "Answer",
    "Choice",
    "act_or_wait",
    "age_in_words",
    "ages_in_words",
    "answers",
    "before_labels",
    "belief",
    "last_week",
    "not_checked",
    "record_in_words",
    "risk_in_words",
    "risks",
    "seen_before",
]

_WEEK = MICROSECONDS["w"]
#: Failures from which a verdict about scores is given.
_ENOUGH = 10
_NAMES = 12


class Answer(NamedTuple):
    """A question of a reader, its answer in a few words, the reason, and the section that says more."""

    question: str
    answer: str
    reason: str
    link: str


class Choice(NamedTuple):
    """Expected prices of acting now and of waiting a week, and what they advise."""

    act: float
    wait: float
    risk: float
    act_now: bool


def answers(facts: Facts) -> list[Answer]:
    """Return the four things that a reader wants to know within half a minute."""
    first = next(iter(risks(facts)), None)
    return [
        Answer("Which asset fails next?", *_fails_next(facts, first), "risk"),
        Answer("Since when is it visible?", *_visible_since(facts, first), "risk"),
        Answer("Should I believe it?", *_beliefs(facts, first), "belief"),
        Answer("What changed in the last week?", *last_week(facts), "models"),
    ]


def risks(facts: Facts) -> list[Risk]:
    """Return the assets at risk: first those whose scores can be believed, each group by score."""
    return sorted(facts.risks, key=lambda risk: not _believed(facts.targets[risk.target]))


def _believed(target: TargetFacts) -> bool:
    return belief(target)[0].startswith(("Yes", "Mostly"))


def _fails_next(facts: Facts, first: Risk | None) -> tuple[str, str]:
    """The first asset at risk; what else it is at risk of, and how many others are at risk."""
    if first is None:
        return _none_fails_next(facts)
    same = [risk for risk in risks(facts) if risk.asset == first.asset and risk is not first]
    also = "".join(f"Also {percent(risk.score)} for {_with_doubt(facts, risk)} " for risk in same)
    others = len({risk.asset for risk in facts.risks}) - 1
    more = (
        f"{others:,} more assets are" if others > 1 else "1 more asset is" if others else "No other asset is"
    )
    return (
        f"{first.asset}: {percent(first.score)} for {target_in_words(first.target)}.",
        f"{also}{more} at risk.",
    )


def _with_doubt(facts: Facts, risk: Risk) -> str:
    """What an asset is at risk of, and the doubt about it."""
    target = facts.targets[risk.target]
    doubt = "" if _believed(target) else f" Believe that? {_head(target)}."
    return f"{mode_in_words(risk.target)}.{doubt}"


def _none_fails_next(facts: Facts) -> tuple[str, str]:
    """Without a risk: whether any asset is left, and whether failures were ever seen before."""
    targets = list(facts.targets.values())
    down = targets[0].down if len(targets) == 1 else 0
    if down and down == facts.assets_in_all:
        return "None: all have failed.", f"All {down:,} assets failed after their last score."
    said = ["No latest score reaches its threshold, and no alert is open."]
    failures = sum(target.failures for target in targets)
    if failures and not any(target.warned for target in targets):
        came = f"all {failures:,} failures came" if failures > 1 else "the only failure came"
        said.append(f"Do not rely on it: {came} without a warning.")
    if down:
        said.append(f"{down:,} of {facts.assets_in_all:,} assets failed after their last score.")
    return "None stands out.", " ".join(said)


def _visible_since(facts: Facts, first: Risk | None) -> tuple[str, str]:
    """Since when the first risk stands, and by what; without a risk, how the latest failure came."""
    if first is not None:
        since = f"Since {moment(first.since)}, {span(max(0, facts.known - first.since))} ago."
        moved = first.alert.moved_by if first.alert is not None else ()
        if not moved:
            return since, f"{first.asset} has been above the threshold since then."
        shown = feature_in_words(moved[0]["feature"], moved[0]["value"], moved[0]["usual"])
        return since, f"{first.asset}: {shown}."
    failed = [(failure, asset.name) for asset in facts.assets for failure in asset.failures]
    if not failed:
        return "Nothing is at risk now.", ""
    latest, name = max(failed, key=lambda each: (each[0].time, each[1]))
    return "Nothing is at risk now.", f"The latest failure, of {name}, {_came(latest)}."


def _came(failure: Failure) -> str:
    """Say how a failure came, as the end of a sentence.

    >>> from dataflows.report.facts import Failure
    >>> _came(Failure("truck/coolant_leak/2d", 4 * 3_600_000_000, 3_600_000_000))
    'was visible 3 hours before'
    """
    seen = seen_before(failure)
    return seen if failure.visible is None else f"was {seen}"


def _beliefs(facts: Facts, first: Risk | None) -> tuple[str, str]:
    """The verdict about the target of the first risk; its reason, then the verdicts about the others."""
    names = list(facts.targets)
    chief = facts.targets[first.target if first is not None else names[0]]
    modes = [mode_in_words(name) for name in names]
    words = mode_in_words if len({*modes}) == len(modes) else target_in_words
    found: dict[str, list[str]] = {}
    for target in facts.targets.values():
        if target is not chief:
            found.setdefault(_head(target), []).append(words(target.name))
    others = "".join(f" {head} for {', '.join(each)}." for head, each in found.items())
    about = f" for {words(chief.name)}" if len(names) > 1 else ""
    reason = _in_short(chief)
    return f"{_head(chief)}{about}.", f"{reason[:1].upper()}{reason[1:]}.{others}"


def _head(target: TargetFacts) -> str:
    """The verdict about a target without what limits it."""
    return belief(target)[0].replace(";", ":").partition(":")[0]


def _in_short(target: TargetFacts) -> str:
    """The reason for a verdict: what came of alerts, how failures came, and how much a guess is worse."""
    said, record = [], target.record
    decided = record.failure + record.none
    if decided == 1:
        said.append(f"the only alert that is decided led to {'a failure' if record.failure else 'none'}")
    elif decided:
        said.append(f"{record.failure:,} of {decided:,} alerts led to a failure")
    if target.failures:
        were = "was" if target.warned == 1 else "were"
        lead = "" if record.median_lead is None else f", {record.median_lead:.0f} hours ahead at the median"
        said.append(f"{target.warned:,} of {target.failures:,} failures {were} visible before{lead}")
    if not target.examples:
        said.insert(0, "no label is known yet")
    elif target.gain is None or target.positives < _ENOUGH:
        said.insert(0, f"only {target.positives:,} of {target.examples:,} examples failed")
    else:
        share, chance = target.gain.share, ", perhaps by chance" if target.gain.least <= 0 else ""
        below = f"{percent(abs(share))} {'below' if share > 0 else 'above'}"
        said.append(f"the error of the scores (log loss) is {below} that of a constant guess{chance}")
    return "; ".join(said)


def belief(target: TargetFacts) -> tuple[str, list[str]]:
    """Return whether to believe the scores of a target: a verdict, and the reasons."""
    gain = target.gain
    if not target.examples:
        return "Not known yet", ["No example that counts in the figures has a label yet."]
    if gain is None:
        label = "none" if not target.positives else "every one"
        return "Too early to say", [
            f"Of {target.examples:,} examples {label} failed: there is nothing to judge by."
        ]
    guess = percent(target.positives / target.examples)
    compared = (
        f"A constant guess of {guess}, the share that failed, has a log loss of {gain.constant:.4f}; the "
        f"scores have {gain.loss:.4f}: {_less(gain.share)} "
        f"(95{NARROW}% interval over assets: {_less(gain.least)} to {_less(gain.most)})."
    )
    said = [compared]
    off = [found for found in target.bins if found.verdict]
    said += [
        f"Scores of {percent(found.low)} to {percent(found.high)} are {found.verdict}: "
        f"{percent(found.score)} on average, and {percent(found.share)} failed "
        f"({percent(found.least)} to {percent(found.most)})."
        for found in off
    ]
    if not off:
        said.append("Failures are as frequent as the scores say: no size of score is off beyond chance.")
    if target.positives < _ENOUGH:
        said.insert(
            0, f"Only {target.positives} of {target.examples:,} examples failed: too few to judge by."
        )
        return "Too early to say", said
    if gain.least <= 0:
        return ("Not sure: perhaps no better than a constant guess" if gain.share > 0 else "No"), said
    return ("Yes" if not off else "Mostly; not every size of score holds"), said


def _less(share: float) -> str:
    """Say by which share a loss is less.

    >>> _less(0.47).replace(NARROW, " "), _less(-3.0).replace(NARROW, " ")
    ('47 % less', '300 % more')
    """
    return f"{percent(abs(share))} {'less' if share >= 0 else 'more'}"


def before_labels(rows: Sequence[Mapping[str, Any]], target: TargetFacts) -> list[str]:
    """Say what error the scores expect of examples without a label, and how such expectations came true.

    Args:
        rows: rows ``expected`` of the metrics; where a target has none, its `looks` take their place.
        target: what is said of.
    """
    mine = [row for row in rows if row["target"] == target.name]
    said = []
    if mine and mine[-1]["open"]["expected"] is not None:
        latest = mine[-1]["open"]
        said.append(
            f"{latest['examples']:,} examples still wait for their label; if the scores hold, their log loss "
            f"will be {latest['expected']:.4f} ({latest['low']:.4f} to {latest['high']:.4f})."
        )
    settled = [row["settled"] for row in mine if row["settled"]["realised"] is not None]
    inside = [row["low"] <= row["realised"] <= row["high"] for row in settled]
    if not mine:
        inside = [look.inside for look in target.looks]
    if inside:
        period = "period" if len(inside) == 1 else "periods"
        said.append(
            f"In {sum(inside)} of {len(inside)} {period} whose labels are known, the log loss lay within the "
            f"95{NARROW}% interval that the scores gave before."
        )
    return said


def ages_in_words(ages: Sequence[Age]) -> str:
    """Say what late data did to the scores that it revised; nothing where it revised none.

    >>> from dataflows.evaluation.two_clocks import Age
    >>> ages_in_words([Age(0, 0, 90, 0.2, 0.4), Age(3_600_000_000, 8, 90, 0.2, 0.3)])
    'Log loss of the 8 examples that late data revised: 0.4000 on arrival, 0.3000 after 1 hour.'
    """
    revised = [
        f"{age.loss_of_revised:.4f} {age_in_words(age)}" for age in ages if age.loss_of_revised is not None
    ]
    if len(ages) < 2:  # noqa: PLR2004 - a first score alone
        return ""
    return f"Log loss of the {ages[-1].revised:,} examples that late data revised: {', '.join(revised)}."


def age_in_words(age: Age) -> str:
    """Say when a score was known, counted from the first one."""
    if age.after == 0:
        return "on arrival"
    return "at last" if age.after is None else f"after {span(age.after)}"


def record_in_words(record: Record, target: str) -> str:
    """Say what came of the alerts of a target: the worth of one more.

    >>> from dataflows.report.facts import Record
    >>> record_in_words(Record(16, 9, 5, 2, 30.0), "truck/coolant_leak/2d")
    'Of 14 such alerts that are decided, 9 led to a coolant leak; 2 more are not decided yet.'
    """
    decided = record.failure + record.none
    if not record.opened:
        return ""
    waiting = ""
    if record.unknown:
        waiting = f"; {record.unknown} more {'is' if record.unknown == 1 else 'are'} not decided yet"
    if not decided:
        return "No such alert is decided yet."
    if decided == 1:
        came = f"led to a {mode_in_words(target)}" if record.failure else "led to none"
        return f"The only such alert that is decided {came}{waiting}."
    led = f"{record.failure:,} led to a {mode_in_words(target)}"
    return f"Of {decided:,} such alerts that are decided, {led}{waiting}."


def risk_in_words(risk: Risk, target: TargetFacts) -> list[str]:
    """Say why an asset is at risk, and what such scores were worth."""
    said = []
    if not _believed(target):
        said.append(f"Should you believe it? {_head(target)}: {_in_short(target)}.")
    if risk.alert is not None and risk.alert.moved_by:
        moved = [
            feature_in_words(move["feature"], move["value"], move["usual"]) for move in risk.alert.moved_by
        ]
        said.append(f"When the alert opened: {'; '.join(moved)}.")
    found = bin_of(target.bins, risk.score)
    if found is not None:
        said.append(
            f"Of {found.examples:,} examples with a score of {percent(found.low)} to {percent(found.high)}, "
            f"{percent(found.share)} failed ({percent(found.least)} to {percent(found.most)})."
        )
    if words := record_in_words(target.record, risk.target):
        said.append(words)
    return said


def act_or_wait(risk: float, horizon: int, costs: Costs) -> Choice:
    """Compare acting now with waiting a week, by expected price.

    The probability of a failure within the week follows from the score, if the hazard stays as it is.

    Args:
        risk: probability of a failure within the horizon.
        horizon: microseconds.
        costs: prices.

    >>> from dataflows.fleet.fleet import Costs
    >>> act_or_wait(0.5, 7 * 24 * 3_600_000_000, Costs(missed=5000, false_alarm=300, repair=800))
    Choice(act=550.0, wait=2500.0, risk=0.5, act_now=True)
    """
    week = 1 - (1 - min(risk, 1.0)) ** (_WEEK / horizon)
    act, wait = costs.act_now(week), costs.wait(week)
    return Choice(act, wait, week, act < wait)


def seen_before(failure: Failure) -> str:
    """Say since when a failure was visible."""
    if failure.visible is None:
        return "came without a warning"
    return f"visible {span(failure.time - failure.visible)} before"


def last_week(facts: Facts) -> tuple[str, str]:
    """Return what changed in the last week of knowledge time: alerts and failures; models and data."""
    since = facts.known - _WEEK
    opened = sum(life.opened > since for life in facts.lives)
    failed = {
        (asset.name, failure.target, failure.time): failure
        for asset in facts.assets
        for failure in asset.failures
        if failure.time > since
    }
    alerts = f"{opened:,} alert{'' if opened == 1 else 's'} opened." if opened else "No alert opened."
    recent = [row for row in facts.changes if row.get("known") and parse_instant(row["known"]) > since]
    said = [
        change_in_words(row)
        for row in recent
        if row["change"] in {"champion", "put_aside", "drift", "verdict"}
    ][:3]
    clocks = {row["asset"] for row in recent if row["change"] == "clock" and row["state"] != "right"}
    if clocks:
        said.append(f"{len(clocks)} clock{' went' if len(clocks) == 1 else 's went'} wrong.")
    models = [row for row in recent if row["change"] in {"champion", "put_aside", "verdict", "drift"}]
    if not models:
        targets = () if facts.fleet is None else facts.fleet.targets.values()
        watched = targets and all(target.drift is not None for target in targets)
        said.append(f"The models did not change{', and no drift was found' if watched else ''}.")
    return f"{alerts} {_failed(list(failed.values()))}", " ".join(said)


def _failed(failures: Sequence[Failure]) -> str:
    """Say how many failures were reported, and how many of them were visible before.

    >>> from dataflows.report.facts import Failure
    >>> _failed([Failure("truck/leak/2d", 9, 4), Failure("truck/leak/2d", 9, None)])
    '2 failures were reported, 1 of them visible before.'
    """
    count, seen = len(failures), sum(failure.visible is not None for failure in failures)
    if not count:
        return "No failure was reported."
    if count == 1:
        return f"1 failure was reported, {'visible before' if seen else 'which came without a warning'}."
    share = "all" if seen == count else f"{seen:,} of them" if seen else "none"
    return f"{count:,} failures were reported, {share} visible before."


def change_in_words(row: Mapping[str, Any]) -> str:
    """Say what a row of the changes means."""
    kind, target = row["change"], row.get("target")
    about = f" for {target_in_words(target)}" if target else ""
    if kind in {"drift", "movement", "clock"}:
        return _data_in_words(row, about)
    if kind == "command":
        obeyed = f", refused: {row['refused']}" if row["refused"] else ""
        return f"Command {row['action']}{about} by {row['by']}{obeyed}."
    if kind == "threshold":
        return f"The threshold{about} is {number(row['threshold'])}."
    if kind == "relearned":
        return f"Labels put right{about}: {row['examples']:,}; {row['learned']:,} examples learned again."
    if "model" in row:
        return _model_in_words(row, about)
    return f"{row.get('asset') or row.get('name', '')}: {row.get('why', kind)}."


def _model_in_words(row: Mapping[str, Any], about: str) -> str:
    """Say what changed of a model."""
    kind = row["change"]
    if kind == "verdict":
        return f"{row['model']}{about}: {row['why']}."
    if kind == "lineage":
        read = ", ".join(row["scores"])
        sees = f"the scores of {read}" if read else f"{len(row['features']):,} features"
        return f"{row['model']}, version {row['version']}{about}: {row['estimator']}, which sees {sees}."
    kind = "became champion" if kind == "champion" else kind
    return f"{row['model']} {kind.replace('_', ' ')}{about}: {row['why']}."


def _data_in_words(row: Mapping[str, Any], about: str) -> str:
    """Say what changed in the data, or in a clock."""
    if row["change"] == "clock":
        jumped = " after a jump" if row["jumped"] else ""
        return f"The clock of {row['asset']} is {row['state']}{jumped} ({row['offset']:+,.0f} s)."
    if row["change"] == "movement":
        return f"Data{about}: {row['why']}, {number(row['value'])}, usually {number(row['usual'])}."
    values = f"{number(row['value'])} from {number(row['reference'])}"
    cause = f" Probable cause: {plain(row['cause'])}." if row.get("cause") else ""
    return f"Drift{about}: {plain(row['series'])} went {row['side']}, {values}.{cause}"


def not_checked(facts: Facts) -> list[str]:
    """Return what this report cannot say, and why."""
    said = list(_about_labels(facts))
    if facts.fleet is None:
        said.append("No fleet.toml was given: thresholds are 0.5, and there is no advice and no price.")
    if facts.unread:
        said.append(f"Readings and late data were not looked at: {facts.unread}.")
    elif facts.lateness is not None and not facts.lateness.delays:
        said.append(
            "The recording has no arrivals, so how late data came is not known, and clocks were not checked."
        )
    hidden = facts.assets_in_all - len(facts.assets)
    if hidden > 0:
        said.append(
            f"{hidden:,} of {facts.assets_in_all:,} assets have no timeline here: those least at risk."
        )
    said += _about_settings(facts)
    names = [text for row in facts.summary.get("input", {}).get("names", ()) if (text := name_in_words(row))]
    said += [f"Matches nothing: {text}." for text in names[:_NAMES]]
    if len(names) > _NAMES:
        said.append(f"{len(names) - _NAMES} more names match nothing: summary.json.")
    if not facts.summary:
        said.append("There is no summary.json: the run has not ended, or was killed.")
    said.append("Failures that nobody reported are counted as none, here as everywhere.")
    return said


def _about_labels(facts: Facts) -> Iterable[str]:
    for target in facts.targets.values():
        name = target_in_words(target.name)
        if target.left_out:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in target.left_out.items())
            yield f"Examples outside the figures of {name}: {reasons}."
        if not target.positives:
            yield f"No example of {name} failed in the time that counts: nobody knows what an alert is worth."
        if not target.record.opened:
            yield f"No alert of {name} ever opened."
    fleet = facts.fleet
    for name in () if fleet is None else fleet.targets:
        if name not in facts.targets:
            yield f"{target_in_words(name)} has no prediction at all."


def _about_settings(facts: Facts) -> Iterable[str]:
    fleet = facts.fleet
    if fleet is None:
        return
    for name, each in fleet.classes.items():
        if not each.compare:
            yield f"Class {name} sets no `compare`: what late data does to its features is not measured."
        if each.idle_timeout is None:
            yield f"Class {name} sets no `idle_timeout`: an asset that falls silent is not noticed."
    if fleet.assets.clock is None:
        yield "No `clock` under [assets]: wrong clocks are not looked for."
    unwatched = [name for name, target in fleet.targets.items() if target.drift is None]
    if unwatched:
        yield f"Drift is not watched for {', '.join(map(target_in_words, unwatched))} (`drift` is off)."
    unpriced = [name for name in facts.targets if (found := fleet.targets.get(name)) and found.costs is None]
    if unpriced:
        yield f"No prices for {', '.join(map(target_in_words, unpriced))}: whether to act now is not weighed."


def quiet(facts: Facts) -> list[tuple[str, int]]:
    """Return the assets last heard more than a day before the end, the latest first; failed ones are down."""
    limit = facts.end - 24 * HOUR
    found = [
        (asset.name, asset.heard)
        for asset in facts.assets
        if asset.heard is not None
        and asset.heard < limit
        and not any(failure.time >= asset.heard for failure in asset.failures)
    ]
    return sorted(found, key=lambda each: -each[1])
