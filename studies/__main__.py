"""``python -m studies``: the list of studies, which are experiments on data sets.

``python -m studies NAME ...`` runs one, with its own arguments; ``python -m studies NAME --help`` lists them.
"""

from __future__ import annotations

from benchmarks.listing import ran_by_name, show_list

STUDIES = {
    "quality": "online models of a recording compared with classifiers that are retrained in batches",
    "disks": "failures of hard disks, predicted from a recording of their SMART values",
    "engines": "every subset of C-MAPSS, run once with the same catalogue: figures as served",
    "azure": "the four components of Azure's machines pooled, compared with a model that only counts errors",
    "calibration": "reliability and calibration error of a run's scores, compared with a perfect predictor's",
    "alerts": "rows of alerts compared with a row for each score above a threshold, at equal use",
    "disorder": "what late data changes in features, merged and thrown away; counts checked by brute force",
    "clocks": "how soon wrong clocks are found, and how many honest ones are accused",
    "promotion": "how often a challenger is promoted wrongly, and how soon a better one is; simulated",
    "served": "a recording run from the prior as champion, with promotions: when, and what they are worth",
    "hours": "hours to failure on the examples of a run: horizons that agree, intervals that cover",
    "intervals": "whether the interval of hours covers 80 % of the failures, as served; simulated trucks too",
    "verdicts": "trucks that are repaired after alerts: figures and models with and without verdicts",
    "experts": "mixtures of the models of a run, replayed on its served scores, beside each model",
    "cold_start": "a sixth class joins: its first examples with a chain of models, without, in hindsight",
    "estimates": "five estimates of a model's error over many simulated fleets: how far off, and coverage",
    "tradeoff": "the lateness that `tradeoff` recommends against the best of a fine grid; simulated trucks",
    "drift": "drift: false alarms, what moved data does, how soon changes are found, and their causes",
    "adaptation": "examples until a model is right again after a drift, with a fresh challenger and without",
    "before_labels": "realised log loss of a recording against the interval that its scores expected",
    "catalogue": "what an event and an example cost, with 5, 15 and 525 models",
    "audit": "a million events: features served compared with the recording's; honest, and tampered with",
}


def main() -> None:
    """Command line."""
    if not ran_by_name("studies", "study", STUDIES):
        show_list("studies", STUDIES)


if __name__ == "__main__":
    main()
