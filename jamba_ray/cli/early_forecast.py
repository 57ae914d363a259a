"""Forecasts a sweep in a thread while Ray starts, so that it is known how long it will take."""

from __future__ import annotations

import contextlib
import threading

import torch

from jamba_ray.cli.plan import first_forecast
from jamba_ray.cluster.resources import count_gpus, plan_for, this_machine
from jamba_ray.cluster.surroundings import cluster_address
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.data.prepared import PreparedData
from jamba_ray.study.forecast import Forecast


class EarlyForecast:
    """Makes a forecast in a thread; use it as a context manager around the sweep.

    Nothing is timed where other machines or a GPU will train: the first reports give their speed.
    """

    def __init__(self, config: SweepConfig, space: SearchSpace, data: PreparedData) -> None:
        self._config, self._space, self._data = config, space, data
        self._found: Forecast | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="jamba_ray-forecast", daemon=True)

    def __call__(self) -> Forecast | None:
        """Returns the forecast, once it is made."""
        return self._found

    def start(self) -> None:
        """Starts the forecast; call it when the sweep can no longer be refused."""
        if cluster_address() is None and not count_gpus():
            self._thread.start()

    def __enter__(self) -> EarlyForecast:
        return self

    def __exit__(self, *_: object) -> None:
        # The thread ends at its next report: the interpreter must not exit while a thread trains.
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        threads = torch.get_num_threads()
        with contextlib.suppress(Exception):
            plan = plan_for(self._config, this_machine(0))
            # As many threads as a runner has; one for each core would delay Ray's start.
            torch.set_num_threads(plan.threads)
            found = first_forecast(
                self._config, self._space, self._data, plan.runners, stop=self._stop.is_set
            )
            if not self._stop.is_set():
                self._found = found
        torch.set_num_threads(threads)
