"""The error of served scores over two clocks: by the age of a score, and by when labels were known.

A prediction has several errors. Users get its first score on arrival, late data revises the score, and the
label comes last. Each error answers a different question:

- *by age*: the error of the score that was known an hour, or a day, after the first. It shows what late data
  adds, and when.
- *before labels*: the scores of examples without a label give the error to expect. Once the labels are in,
  the two are compared.
- *as labels come*: positives are often known before negatives, or after them. So the error over the labels
  known at the end of a week differs from the error of that week.

Source: M. Grzenda, H. M. Gomes and A. Bifet, "Delayed labelling evaluation for data streams", Data Mining and
Knowledge Discovery 34, 2020, whose continuous re-evaluation judges each prediction at several ages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataflows.instants import MICROSECONDS
from dataflows.scoring import log_losses
from dataflows.target.expected import Outlook, positive_still

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Age", "Look", "Revisions", "Served", "by_age", "looks"]

#: Ages at which a score is judged, beyond the first score.
_AGES = tuple(
    MICROSECONDS[unit] * count for count, unit in ((10, "m"), (1, "h"), (6, "h"), (1, "d"), (7, "d"))
)
#: Fewest positives from which the delays of labels are estimated.
_FEWEST = 20


class Served(NamedTuple):
    """Examples with a known label, and the scores that were served for them.

    Attributes:
        assets: names (n).
        times: event times, microseconds (n).
        labels: 1 or 0 (n).
        known: when the label was known, microseconds (n).
        scores: the first ones, between 0 and 1 (n).
    """

    assets: NDArray[np.str_]
    times: NDArray[np.int64]
    labels: NDArray[np.int64]
    known: NDArray[np.int64]
    scores: NDArray[np.float64]


class Revisions(NamedTuple):
    """Later scores of examples, in the order of serving.

    Attributes:
        example: index of the example (m).
        age: from the first score to this one, by knowledge time, microseconds (m).
        scores: between 0 and 1 (m).
    """

    example: NDArray[np.int64]
    age: NDArray[np.int64]
    scores: NDArray[np.float64]


class Age(NamedTuple):
    """Error of the scores that are known at one age.

    Attributes:
        after: microseconds since the first score; None for the last score of each example.
        revised: number of examples whose score was revised by then.
        examples: number of all examples.
        loss: mean log loss of the scores known then, nats.
        loss_of_revised: the same over examples that are revised at any age; None without any.
    """

    after: int | None
    revised: int
    examples: int
    loss: float
    loss_of_revised: float | None


class Look(NamedTuple):
    """Error as estimated at one instant, and as it turned out.

    Attributes:
        at: the instant, microseconds.
        waiting: number of examples with a score and no label then, and a label today.
        expected: their expected log loss by their scores, nats.
        low: lower end of its 95 % interval.
        high: its upper end.
        turned_out: their log loss under their labels.
        examples: number of examples in the period that ends at ``at``.
        labelled: number of these with a label by then.
        loss_then: log loss of ``labelled``; None without any.
        loss: log loss of ``examples`` today; None without any.
    """

    at: int
    waiting: int
    expected: float
    low: float
    high: float
    turned_out: float
    examples: int
    labelled: int
    loss_then: float | None
    loss: float | None

    @property
    def inside(self) -> bool:
        """Whether the loss turned out to be inside the expected interval."""
        return self.low <= self.turned_out <= self.high


def by_age(served: Served, revisions: Revisions) -> list[Age]:
    """Return the error by the age of the score, from the first score to the last.

    Ages at which no score is newer than at the age before are left out.

    Args:
        served: the examples.
        revisions: their later scores.

    >>> one = Served(np.array(["a"]), np.array([0]), np.array([1]), np.array([9]), np.array([0.5]))
    >>> late = Revisions(np.array([0]), np.array([MICROSECONDS["h"]]), np.array([0.9]))
    >>> [(age.after, age.revised, round(age.loss, 3)) for age in by_age(one, late)]
    [(0, 0, 0.693), (3600000000, 1, 0.105)]
    """
    if not len(served.labels):
        return []
    latest = served.scores.copy()
    ever = np.zeros(len(latest), dtype=bool)
    ever[revisions.example] = True
    revised = np.zeros(len(latest), dtype=bool)
    found = [_age(0, served, latest, revised, ever)]
    order = np.argsort(revisions.age, kind="stable")
    ages, rest = revisions.age[order], 0
    for limit in (*_AGES, None):
        stop = len(ages) if limit is None else int(np.searchsorted(ages, limit, side="right"))
        if stop > rest:
            rows = order[rest:stop]
            latest[revisions.example[rows]] = revisions.scores[rows]
            revised[revisions.example[rows]] = True
            found.append(_age(limit, served, latest, revised, ever))
            rest = stop
    return found


def _age(
    after: int | None,
    served: Served,
    scores: NDArray[np.float64],
    revised: NDArray[np.bool_],
    ever: NDArray[np.bool_],
) -> Age:
    losses = log_losses(served.labels, scores)
    of_revised = float(losses[ever].mean()) if ever.any() else None
    return Age(after, int(revised.sum()), len(losses), float(losses.mean()), of_revised)


def looks(served: Served, horizon: int, every: int) -> list[Look]:
    """Return the error as estimated at the end of each period, and as it turned out.

    The longer an example is without a label, the less likely it is a positive (`positive_still`, with the
    delays of the positives known then). Instants after the newest negative example are left out, since some
    examples without a label then have none today either.

    Args:
        served: the examples.
        horizon: of the target, microseconds; examples of an asset within it share their label.
        every: length of a period, microseconds; periods are aligned to 1970-01-01.
    """
    losses = log_losses(served.labels, served.scores)
    negatives = served.times[served.labels == 0]
    if not len(negatives):
        return []
    first, last = int(served.times.min()), int(negatives.max())
    found = []
    for at in range((first // every + 1) * every, last + 1, every):
        waiting = np.flatnonzero((served.times <= at) & (served.known > at))
        if not len(waiting):
            continue
        outlook = _outlook(served, waiting, at, horizon).loss()
        of_period = (served.times > at - every) & (served.times <= at)
        then = of_period & (served.known <= at)
        found.append(
            Look(
                at,
                len(waiting),
                outlook["expected"] or 0.0,
                outlook["low"] or 0.0,
                outlook["high"] or 0.0,
                float(losses[waiting].mean()),
                int(of_period.sum()),
                int(then.sum()),
                float(losses[then].mean()) if then.any() else None,
                float(losses[of_period].mean()) if of_period.any() else None,
            )
        )
    return found


def _outlook(served: Served, waiting: NDArray[np.intp], at: int, horizon: int) -> Outlook:
    """Return what was to be expected, at an instant, of the examples that had no label then."""
    positives = (served.labels == 1) & (served.known <= at)
    reported = np.sort(served.known[positives] - served.times[positives])
    shares = np.zeros(len(waiting))
    if len(reported) >= _FEWEST:
        shares = np.searchsorted(reported, at - served.times[waiting], side="right") / len(reported)
    parts = zip(
        served.assets[waiting].tolist(),
        served.times[waiting].tolist(),
        served.scores[waiting].tolist(),
        shares.tolist(),
        strict=True,
    )
    expected = ((asset, time, score, positive_still(score, share)) for asset, time, score, share in parts)
    return Outlook(expected, horizon, 0.5)
