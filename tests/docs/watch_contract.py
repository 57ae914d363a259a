"""Says what ``watch.json`` holds; ``tests/watching/test_watch.py`` holds it against real ones."""

WATCH = {
    "version": "the version of this contract; 1",
    "model": "the model's name",
    "made_by": "the version of jamba_ray",
    "time_s": "when it was made, in seconds since 1970",
    "status": "`found` where a finding is a `warning` or `critical`, else `nothing_found`",
    "exit_code": "6 where `status` is `found`, else 0",
    "threshold": "the score from which a row is an alert",
    "alpha": "the chance that anything is found where nothing has changed",
    "data": "the rows that were watched, as they were given",
    "window": "`id` (a digest of the rows), `rows`, `alerts`, `alert_share`, "
    "`alerts_per_day`, `rows_per_day`, `from`, `to` (null without times), `lacking` (columns "
    "that are not there), `asked` (whether these are rows that an earlier watch asked for)",
    "reference": "what the window is held against: `part`, `rows`, `train_rows`, `until` "
    "(the newest time); null for rows that were asked for, as are `score`, `rows`, `prior` and "
    "`performance`",
    "score": "the scores, like an entry of `columns`",
    "rows": "whole rows told from the reference by a classifier: `roc_auc` (`value`, `low`,"
    " `high`), `p`, `found`, `columns` that give them away; null with fewer than 100 rows",
    "columns": "each column: `column`, `kind` (`number` or `name`), `p`, `found`, "
    "`distance` (share of the rows that the change moves), `psi`, `psi_by_chance` (what it "
    "stays below in 95 % of unchanged windows of this size), `rows`, `effective_rows` (as many "
    "rows drawn by chance say as much), `missing` and `unseen` (`value`, `before`, `p`, "
    "`found`), `new` (names, with their number), `unreadable` (cells), `factor` (of another "
    "unit)",
    "prior": "the share of threats, estimated from the scores: `value`, `low`, `high`, "
    "`before` (in the reference), `differs`, `explains` (whether it alone explains what has "
    "changed); null where it cannot be estimated",
    "performance": "estimated without labels: `supposes` (`none`, `covariate` or `prior` "
    "shift), `metrics` and `threats` (`value`, `low`, `high`), `effective_rows`, `reason` why "
    "there is none, `sentence` with what it supposes",
    "labels": "what labels say: `rows`, `threats`, `how` (`all`, `some`, `asked`), "
    "`metrics`, `any_time` (rates over all windows, whose intervals hold whenever they are "
    "read), `promise` (the test of what the threshold promises: `limit`, `rows`, `wrong`, "
    "`log_evidence`, `log_wealth`, `refuted`), `unfair_p` (where labelled rows are no fair "
    "draw); null without any",
    "groups": "the largest groups: `group`, `rows`, `alerts` (`value`, `low`, `high`), "
    "`mean_score`, `held_against`, `p`, `distance`, `found`",
    "over_time": "equal spans of the window: `from`, `rows`, `alerts`, `mean_score`",
    "findings": "what has changed, causes first: `key` (the same in each window that "
    "has it), `kind`, `severity` (`info`, `warning`, `critical`), `column`, `sentence`, `p`, "
    "`effect` (share of the rows that it moves)",
    "sentence": "the answer",
    "asked": "the rows that were written to be labelled: `file`, `rows`; null without any",
    "seconds": "how long it took",
}
"""Key of ``watch.json`` -> what it holds."""

COLUMN = (
    *("column", "kind", "p", "found", "distance", "psi", "psi_by_chance", "rows"),
    *("effective_rows", "missing", "unseen", "new", "unreadable", "factor"),
)
FINDING = ("key", "kind", "severity", "column", "sentence", "p", "effect")
