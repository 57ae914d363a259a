"""Lists the commands: the name, the configuration and the help of each.

The module that runs a command is imported only then.
"""

from __future__ import annotations

from typing import Any

from jamba_ray.cli.entry import ClusterCommand, Command
from jamba_ray.config.export import ExportConfig, ImportConfig
from jamba_ray.config.predict import EvaluateConfig, ExplainConfig, PredictConfig, ThresholdConfig
from jamba_ray.config.registry import RegistryConfig
from jamba_ray.config.report import ReportConfig
from jamba_ray.config.run import SweepConfig, TrainConfig
from jamba_ray.config.serve import CheckConfig, ScoreConfig, ServeConfig
from jamba_ray.config.submit import DoctorSection, SubmitSection
from jamba_ray.config.sweep_space import checked_space
from jamba_ray.config.tracking import DashboardConfig, SyncConfig
from jamba_ray.config.watch import WatchConfig

SWEEP = Command(
    name="sweep",
    about="Search the hyperparameters of the threat model, and judge the winner.",
    examples="""\
  jamba-ray sweep +sweep=attention_heads
  jamba-ray sweep +sweep=rivals data=table data.path=flows.csv data.target=label
  jamba-ray sweep +sweep=learning_rate n_trials=64 budget.hours=0.5 run=night-1
  jamba-ray sweep +sweep=learning_rate n_trials=64 run=night-1 resume=true
  jamba-ray sweep 'search_space.model.n_blocks={type: int, low: 1, high: 3}'
""",
    section=SweepConfig,
    primary="config",
    most=(
        "data.path",
        "data.target",
        "data.split.kind",
        "n_trials",
        "budget.hours",
        "training.epochs",
        "objective",
        "run",
        "resume",
        "dry_run",
    ),
    loading="loading PyTorch and Ray",
    check=checked_space,
)
TRAIN = Command(
    name="train",
    about="Train one configuration of the threat model, and judge it.",
    examples="""\
  jamba-ray train data=nsl_kdd model.n_heads=8 training.epochs=3
  jamba-ray train model=mlp training.learning_rate=1e-3 run=mlp-1
  jamba-ray train model=lightgbm data=table data.path=a.csv data.target=label
""",
    section=TrainConfig,
    primary="config",
    most=(
        "data.path",
        "data.target",
        "data.split.kind",
        "training.learning_rate",
        "training.epochs",
        "training.batch_size",
        "objective",
        "run",
        "resume",
        "dry_run",
    ),
    loading="loading PyTorch",
)
THRESHOLD = Command(
    name="threshold",
    about="Choose a threshold on validation rows, show what it costs on test, save it with the "
    "model.",
    examples="""\
  jamba-ray threshold runs/night-1 max_fpr=0.01
  jamba-ray threshold runs/night-1 name=soc alerts_per_day=50 rows_per_day=2e6
""",
    section=ThresholdConfig,
    primary="threshold",
    positional=("run",),
)
PREDICT = Command(
    name="predict",
    about="Score unlabelled rows: write them with score, alert and threshold.",
    examples="""\
  jamba-ray predict runs/night-1 new.csv -o scored.csv
  jamba-ray predict runs/night-1 march/ -o scored.parquet explain=3
  zcat flows.csv.gz | jamba-ray predict runs/night-1 - -o - > scored.csv
""",
    section=PredictConfig,
    primary="predict",
    positional=("run", "data.path"),
    short={"-o": "output"},
)
EXPLAIN = Command(
    name="explain",
    about="Say which columns a model relies on, or why it scored one row as it did.",
    examples="""\
  jamba-ray explain runs/night-1
  jamba-ray explain runs/night-1 new.csv
  jamba-ray explain runs/night-1 new.csv row=17
""",
    section=ExplainConfig,
    primary="explain",
    positional=("run", "data.path"),
)
EVALUATE = Command(
    name="evaluate",
    about="Judge a checkpoint on labelled rows, and write a score for each row.",
    examples="""\
  jamba-ray evaluate runs/night-1 march.parquet
  jamba-ray evaluate checkpoint=runs/night-1/best data=nsl_kdd
""",
    section=EvaluateConfig,
    primary="evaluate",
    positional=("checkpoint", "data.path"),
    most=(
        "checkpoint",
        "data.path",
        "data.target",
        "data.positive",
        "data.negative",
        "data.columns",
        "threshold",
        "run",
        "store",
        "overwrite",
    ),
    loading="loading PyTorch",
)
WATCH = Command(
    name="watch",
    about="Hold new rows against those that the model was judged on, and say what has changed.",
    examples="""\
  jamba-ray watch runs/night-1 new.csv
  jamba-ray watch runs/night-1 new/ data.timestamp=time data.group=host
  jamba-ray watch runs/night-1 watch/night-1/to_label.csv labels=label
  jamba-ray watch runs/night-1 new/ every=1h rules=alerts.yaml
""",
    section=WatchConfig,
    primary="watch",
    positional=("model", "data.path"),
    most=(
        "model",
        "data.path",
        "data.timestamp",
        "data.group",
        "labels",
        "threshold",
        "ask",
        "every",
        "rules",
        "output",
    ),
    loading="loading PyTorch",
)
EXPORT = Command(
    name="export",
    about="Write a model as a file for other runtimes, and prove that it gives the same answers.",
    examples="""\
  jamba-ray export runs/night-1
  jamba-ray export runs/night-1 format=pt
  jamba-ray export runs/night-1 format=gguf quantization=q5_k_m
  jamba-ray export runs/night-1 verify=night-1.onnx data.path=new.csv
""",
    section=ExportConfig,
    primary="export",
    positional=("run",),
)
IMPORT = Command(
    name="import",
    about="Read a network from a .pt file, as a run that predict, threshold and export take.",
    examples="""\
  jamba-ray import model.pt run=night-1
  jamba-ray import theirs.pt data.path=flows.csv data.target=label run=theirs
""",
    section=ImportConfig,
    primary="import",
    positional=("pt",),
)
REGISTRY = Command(
    name="registry",
    about="Keep models as versions that never change, and decide which one is used.",
    examples="""\
  jamba-ray registry register run=runs/night-1 name=threats
  jamba-ray registry promote name=threats version=3 why="finds the new campaign"
  jamba-ray registry rollback name=threats why="too many alerts"
  jamba-ray registry history name=threats at=2026-03-01
  jamba-ray registry verify
""",
    section=RegistryConfig,
    primary="registry",
    positional=("action",),
    most=(
        "action",
        "name",
        "run",
        "version",
        "alias",
        "registry",
        "data.path",
        "gate.champion",
        "force",
        "key",
    ),
)
SERVE = Command(
    name="serve",
    about="Serve a model over HTTP: rows in, scores and alerts out.",
    examples="""\
  jamba-ray serve runs/night-1
  jamba-ray serve night-1.onnx port=9000
  jamba-ray serve threats@champion canary=threats@challenger share=0.1 key=host
  jamba-ray serve night-1.onnx host=0.0.0.0 tls.cert=cert.pem tls.key=key.pem
""",
    section=ServeConfig,
    primary="serve",
    positional=("model",),
    most=(
        "model",
        "port",
        "host",
        "token_file",
        "auth",
        "tls.cert",
        "tls.key",
        "canary",
        "share",
        "key",
    ),
)
SCORE = Command(
    name="score",
    about="Score rows by a server of `serve`: write them with score, alert and threshold.",
    examples="""\
  jamba-ray score http://127.0.0.1:8080 new.csv -o scored.csv
  zcat flows.csv.gz | jamba-ray score http://127.0.0.1:8080 - -o - > scored.csv
""",
    section=ScoreConfig,
    primary="score",
    positional=("url", "data.path"),
    short={"-o": "output"},
)
CHECK = Command(
    name="check",
    about="Check a server of `serve`: whether it is ready, which version answers, whether it gives "
    "the model's scores, and how fast.",
    examples="""\
  jamba-ray check http://127.0.0.1:8080
  jamba-ray check http://127.0.0.1:8080 version=threats@3 latency_ms=20
""",
    section=CheckConfig,
    primary="check",
    positional=("url",),
)
REPORT = Command(
    name="report",
    about="Write the report of a run, or compare runs: one HTML file each, readable anywhere.",
    examples="""\
  jamba-ray report runs/night-1
  jamba-ray report run=night-1 report.interactive=true
  jamba-ray report run=/mnt/runs/night-1
  jamba-ray report run=s3://bucket/sweeps/night-1
  jamba-ray report runs=[night-1,night-2]
  jamba-ray report top_n=5 metric=roc_auc
""",
    section=ReportConfig,
    primary="report",
    positional=("run",),
)
SYNC = Command(
    name="sync",
    about="Send a run to Weights & Biases: each trial, curve and artifact once, however often you "
    "ask.",
    examples="""\
  jamba-ray sync runs/night-1
  jamba-ray sync run=/mnt/runs/night-1 project=threats entity=blue-team
""",
    section=SyncConfig,
    primary="sync",
    positional=("run",),
)
DASHBOARD = Command(
    name="dashboard",
    about="Make a W&B workspace and a W&B report about a sweep's best trials.",
    examples="""\
  jamba-ray dashboard runs/night-1
  jamba-ray dashboard run=night-1 publish=true entity=blue-team
""",
    section=DashboardConfig,
    primary="dashboard",
    positional=("run",),
)
SUBMIT = ClusterCommand(
    name="submit",
    about="""\
Run a sweep as a job of a Ray cluster and wait for it: its log is shown, its \
result copied back, its exit code is this command's. Submitted again (a retried CI \
job) it follows the sweep there is. SIGTERM and Ctrl-C stop the sweep with its \
state saved; the same command continues it.""",
    examples="""\
  jamba-ray submit +sweep=attention_heads
  jamba-ray submit +sweep=rivals n_trials=64 store=s3://bucket/sweeps
  jamba-ray submit +sweep=rivals submit.champion=best.json submit.margin=0.005
  jamba-ray submit +sweep=rivals submit.dry_run=true
""",
    section=SubmitSection,
    primary="config",
)
DOCTOR = ClusterCommand(
    name="doctor",
    about="""\
Check that a sweep would run: versions, GPUs, authentication, store, data, clocks, \
disk, W&B. Every line is ok, warn or fix; it exits 69 when a sweep would fail. What \
does not begin with `doctor.` are the settings of the sweep that is meant.""",
    examples="""\
  jamba-ray doctor
  jamba-ray doctor store=s3://bucket/sweeps doctor.nodes=3 \\
      doctor.address=http://127.0.0.1:8265
  jamba-ray doctor doctor.make_token=true
""",
    section=DoctorSection,
    primary="config",
)

COMMANDS: dict[str, Command[Any]] = {
    command.name: command
    for command in (
        SWEEP,
        TRAIN,
        THRESHOLD,
        PREDICT,
        EXPLAIN,
        EVALUATE,
        WATCH,
        EXPORT,
        IMPORT,
        REGISTRY,
        SERVE,
        SCORE,
        CHECK,
        REPORT,
        SYNC,
        DASHBOARD,
        SUBMIT,
        DOCTOR,
    )
}
