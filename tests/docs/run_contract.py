"""Says what lies in a run folder; ``tests/integration/test_readme.py`` holds it
against a real sweep."""

FILES = {
    "summary": "the result as strict JSON, see below",
    "trials": "one row a trial, see below",
    "study": "the Optuna study: every trial with its curve and its state; the truth of the run. "
    "A JSON object a line, checksummed; `optuna-dashboard` and plain Optuna "
    "(`JournalFileBackend`) open it. In a bucket `study/*.jsonl`, one after the other",
    "study_copy": "the study once more: what one of the two files loses is taken from the other",
    "study.lease": "the process that writes the study",
    "best": "the winner: safetensors (or LightGBM's text) and JSON, its preprocessing included; "
    "`jamba_ray.load` reads it; `thresholds.json` holds the thresholds that were saved with it, "
    "what they promise, and the calibration",
    "rivals": "`rivals/lightgbm/`: each default model that the winner was held against, like "
    "`best`; `evaluate` holds the winner against them on other rows",
    "certify": "`certify/trial-7-seed-1/`: the best configurations trained again with further "
    "seeds, like `best`; `certify/refit-0-trial-7/`: with `refit=true` the winner trained on more "
    "rows; `certify/state.json` has the times and what was planned by them",
    "report": "the report for people: one file, no outside request, and no script but with "
    "`report.interactive=true`",
    "report.md": "the same as Markdown",
    "scores": "the winner's score (and the baseline's) of every row of validation, calibration and "
    "test",
    "reference": "at most 10,000 of the rows that judged the winner, as the model sees them, with "
    "labels and scores: `watch` holds later rows against them",
    "checkpoints": "the best trials' checkpoints and the newest one of each running trial",
    "config": "the resolved configuration",
    "log": "what the command did",
    "logs": "what runners and ranks wrote, with the traceback of each failed trial",
    "rows": "`rows/trial-0007.jsonl`: every report of every trial, a line of JSON each; in a "
    "bucket `rows.jsonl.gz` (while the run goes on, what is new is in `rows/part-*.jsonl.gz`)",
    "wandb": "with `tracking=wandb`: the runs that W&B's client wrote",
    "tensorboard": "with `tracking.tensorboard=true`: event files, a folder a trial",
    "tracking.json": "how far W&B's follower came",
    "tracking-mlflow.json": "how far MLflow's follower came; `tracking-<name>.json` that of a "
    "tracker of a plug-in",
    "dashboard.json": "with `python -m jamba_ray.dashboard`: the W&B workspace and report as code",
}
"""An attribute of ``RunFolder``, or a name -> what lies there. Other files there are our own."""

SUMMARY = {
    "command": "`sweep`, `train` or `evaluate`",
    "run": "the run's name",
    "tracking": "tracker (`wandb`, `mlflow`) -> where it shows the run: an address, or the command "
    "that opens it or sends it",
    "status": "`running` (also after `kill -9`), `ok`, `some_failed`, `none_succeeded`, "
    "`interrupted`, `storage_lost` or `failed`",
    "exit_code": "the exit code of the command; null while it runs",
    "ended": "why the sweep ended, in a sentence",
    "objective": "the validation metric that decides",
    "trials": "number of trials by state: `complete`, `pruned`, `failed`, `running`",
    "best": "the winner: `trial`, `origin`, `params`, `step`, `epochs`, `best_epoch`, "
    "`most_epochs`, `rows_seen`, `checkpoint`, `config`, `threshold`, `val`, `test` and "
    "`extra_tests` (each metric with `value`, `low`, `high`), `expected` (`low` and `high` of the "
    "objective on the test by validation rows alone, or the `reason` why that cannot be known; "
    "`holds`; `shift`; `sentence`); null without one",
    "team": "the team of trials that was sought: `used` (whether it is the winner), `members` "
    "(`trial`, `variant` of a further model of it, `weight`, `model`, `value`), `gain` over the "
    "best single trial on validation rows that did not choose the team (`value`, `low`, `high`), "
    "`single` (what that trial has alone), `candidates`, `variants`, `settings`, `combined`, "
    "`too_few`, `seconds`, `sentence`, `distilled` with `ensemble.distil=true` (`used` in place of "
    "the team, `model`, `cost` beside the team, `value`, `single`); null with `ensemble=false`",
    "certification": "which configuration is surely better: `comparisons` of models trained again "
    "(`a`, `b`, `verdict` of `better`, `worse`, `equal`, `not_better`, `open`; `value`, `low`, "
    "`high` of the difference on validation rows, above 0 where `a` is better; `seeds` of each, "
    "`why` it is open, `taken`), `leader` (the best trial of the search), `taken` (the winner), "
    "`too_few`, `settings`, `search_s`, `seconds`, `sentences`; null with `certify=false`",
    "cv": "with `cv.folds`: the winner's `values` by fold, their `mean` and `std_error` (corrected "
    "for folds that share training rows), `folds`, `repeats`, `kind` of division, `rows` of each "
    "fold (`train`, `held_out`), the out-of-fold `threshold` and the `threshold_rows` that it "
    "rests on, the `refit_rows` that `best` was trained on, `sentences`; null without folds",
    "refit": "with `refit=true` whether the winner was trained again on more rows: `used`, "
    "`reason`, `rows` (those that were added), `train_rows`, `val_rows`, `seconds`, `sentence`; "
    "null without it",
    "baseline": "the rival that is best on validation rows: `model`, `threshold`, `val`, `test`; "
    "null where there is none",
    "rivals": "the default models that the winner is held against (`rivals=`): each like "
    "`baseline`, with its own `comparison`; or `model` and the `reason` why there is none",
    "comparison": "metric -> paired 95 % interval of winner minus baseline on the test rows",
    "bayes": "the scores of the true probabilities, where they are known (synthetic data), or null",
    "groups": "recall by group (`data.group`), and whether training saw the group; null "
    "without one",
    "drawn_groups": "part -> the groups over which its intervals are; a part whose intervals are "
    "over rows is left out",
    "robustness": "part -> average precision under attack on the columns of `data.mutable`: "
    "`value`, `low`, `high`, `without_attack`, `rows`, `threats`, `columns` (`column`, `share` of "
    "the malicious rows in which it was changed, `median_change`), `attack`, `scored`, "
    "`seconds`; null without such columns",
    "detection_delay": "from a group's first malicious row to its first that is an alert: `part`, "
    "`groups`, `found` (share of groups), `at_once`, `rows` and `time` (`median`, `p90`; null: "
    "never), `unit`, `slowest` (`group`, `rows`, `time`); null without groups and times",
    "to_come": "under a shift: what the `rows` to come are (`test` or `newest`), and by part the "
    "rows that importance weights drew to be like them (`rows`, `drawn`, `effective`, `roc_auc`, "
    "`reason`); else null",
    "importance": "parameter -> its share of what decides the objective",
    "feature_importance": "how much worse the winner is without a column: `metric`, `value`, "
    "`part`, `rows`, and `groups` (`columns` that were exchanged together, `drop`, `low`, `high`); "
    "null where the metric is not defined",
    "failures": "failed trials by root cause: `reason`, `count`, `trials`",
    "notes": "what was found or assumed on the way, in sentences",
    "data": "the rows: `parts` (rows, threats, times, rows that training has too), `columns`, "
    "`left_out` (column -> why), `missing` (column -> share by part), `duplicates`, "
    "`split` (how rows were divided), `unseen` (share of rows with what training never saw), "
    "`shift` (rows told apart, `findings` with their settings)",
    "wall_s": "seconds from the start to the verdict",
    "search": "how trials were proposed and stopped: `sampler`, `pruner`, `objectives`, "
    "`constraint`, `warm_start`; not of `train`",
    "front": "with several objectives: `objectives` with their directions, `constraint`, the "
    "`trials` that no other dominates (`trial`, `values`, `params`), which was `picked` and by "
    "which rule (`pick`), the `leader` in the first objective, and whether it `kept` the limits; "
    "null with one objective",
    "goodput": "share of runner time that went into training steps",
    "budget": "limit, what was spent, forecasts; null without one",
    "config_fingerprint": "digest of all settings that make the experiment",
    "data_fingerprint": "digest of the rows and how they were prepared",
    "versions": "of Python, jamba_ray and the packages that matter",
    "folder": "path of the run folder",
    "report": "path of the report",
    "next": "commands that may follow, ready to paste",
}
"""Key of ``summary.json`` of a sweep -> what it holds."""

TRIALS = {
    "number": "the trial",
    "state": "`complete`, `pruned`, `failed` or `running`",
    "value": "the objective of its best report",
    "origin": "`defaults`: the configuration as composed; `enqueue`: it was enqueued; null: the "
    "sampler proposed it",
    "params.*": "a column for each parameter, such as `params.training.learning_rate`",
    "val/*": "a column for each validation metric",
    "epochs": "passes over the training rows, a fraction too",
    "rows_seen": "training rows that it saw",
    "seconds": "wall time from start to end",
    "goodput_s": "seconds of it in training steps",
    "reason": "why it failed or was pruned",
    "checkpoint": "name of its best checkpoint, where it is kept",
    "std_error": "with `cv.folds`: the standard error of `value`, which is a mean over folds",
    "folds": "with `cv.folds`: the objective of each finished fold, a list; else null",
}
"""Column of ``trials.parquet`` -> what it holds."""
