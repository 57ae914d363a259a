"""Defines ``tracking``: who receives the results of a run while it runs; the study and the local
rows are the truth."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jamba_ray.config.names import LocalPath, Plugins
from jamba_ray.config.plugins import TRACKERS, open_to
from jamba_ray.config.section import Section

OWN = ("wandb", "mlflow")
"""Our trackers; plug-ins have others."""
_TITLES = {"wandb": "W&B", "mlflow": "MLflow"}
_PROJECT = re.compile(r"[A-Za-z0-9._-]{1,128}")


def title_of(tracker: str) -> str:
    """Returns how sentences call a tracker, ours or one of a plug-in."""
    if tracker in TRACKERS:
        return TRACKERS[tracker].title
    return _TITLES.get(tracker, tracker)


class TrackingSection(Section):
    """Chooses trackers: ``tracking=local``, ``wandb``, ``mlflow``, ``[wandb,mlflow]`` or ``none``.

    No key is ever a setting: W&B's client finds it in ``WANDB_API_KEY`` or in ``~/.netrc``, where
    ``wandb login`` puts it; MLflow's in ``MLFLOW_TRACKING_TOKEN`` (or ``_USERNAME`` and
    ``_PASSWORD``).
    """

    name: Literal["local", "wandb", "none"] = "local"
    """``local``: every report as a line of JSON in the run folder; ``wandb``: that, and a follower
    that sends it to Weights & Biases; ``none``: the study alone."""
    mode: Literal["offline", "online"] = "offline"
    """``wandb`` only. ``offline`` writes runs that `jamba-ray sync` or `wandb sync` sends
    later and needs no network; ``online`` sends them as they come."""
    project: str = "jamba_ray"
    """W&B project, and MLflow experiment."""
    entity: str | None = None
    """W&B user or team; None: the default one of the key."""
    mlflow: bool = False
    """Also send the run to MLflow: `tracking=mlflow`, or `tracking=[wandb,mlflow]`."""
    mlflow_uri: str | None = None
    """MLflow's server (`https://...`) or database (`sqlite:///mlflow.db`); None: that of
    ``MLFLOW_TRACKING_URI``, else `mlflow.db` beside the run folders."""
    also: tuple[str, ...] = ()
    """Trackers of plug-ins to which the run is sent too: `tracking=[wandb,mine]`."""
    tensorboard: bool = False
    """Also write TensorBoard event files, a folder a trial, into ``<run folder>/tensorboard``."""
    close_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0
    """Seconds after its end that a run waits for its follower; an interrupted one waits at most 3.
    What is not sent by then `jamba-ray sync run=<run>` sends."""

    @field_validator("project")
    @classmethod
    def _project_is_a_name(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            raise ValueError(
                "`tracking.project` must be 1-128 letters, digits, '.', '_' or '-', but is "
                f"{value!r}. Choose a plain name such as 'threats'"
            )
        return value

    @field_validator("mlflow_uri")
    @classmethod
    def _uri_has_no_password(cls, value: str | None) -> str | None:
        scheme, found, rest = (value or "").partition("://")
        if found and "@" in rest.partition("/")[0]:
            raise ValueError(
                "`tracking.mlflow_uri` must hold no user or password, because it is kept with the "
                f"run, but holds one before '@' ({scheme}://...). Set MLFLOW_TRACKING_URI instead, "
                "or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return value

    @model_validator(mode="after")
    def _followers_have_rows(self) -> TrackingSection:
        for name in ("tensorboard", "mlflow", "also"):
            if (given := getattr(self, name)) and self.name == "none":
                nothing, value = ("empty", list(given)) if name == "also" else ("false", "true")
                raise ValueError(
                    f"`tracking.{name}` must be {nothing} with `tracking=none`, which writes no "
                    f"rows, but is {value}. Drop `tracking=none`"
                )
        return self

    @property
    def trackers(self) -> tuple[str, ...]:
        """Returns the services to which the run is sent."""
        ours = {"wandb": self.name == "wandb", "mlflow": self.mlflow}
        return (*(name for name in OWN if ours[name]), *self.also)


class SyncConfig(Section):
    """Configures ``sync``."""

    run: LocalPath
    """A run's name, or its folder."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    to: Annotated[Literal["wandb", "mlflow"], open_to(TRACKERS, OWN)] | None = None
    """Where to; None: to each tracker that the run's ``tracking`` names, else to W&B."""
    project: str | None = None
    """W&B project or MLflow experiment; None: that of the run's ``tracking``."""
    entity: str | None = None
    """W&B user or team; None: that of the run's ``tracking``, else the default one of the key."""
    mlflow_uri: str | None = None
    """MLflow's server or database; None: that of the run's ``tracking``."""
    plugins: Plugins = ()
    """Modules with the trackers of the run that are plug-ins."""
    timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    """Seconds after which to stop; what was sent by then stays sent."""


class DashboardConfig(Section):
    """Configures ``dashboard``."""

    run: LocalPath
    """A run's name, or its folder."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    publish: bool = False
    """Save the dashboards in W&B; otherwise they are only written to ``dashboard.json``."""
    project: str | None = None
    """W&B project; None: that of the run's ``tracking``."""
    entity: str | None = None
    """W&B user or team; None: that of the run's ``tracking``."""
