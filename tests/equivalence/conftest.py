from __future__ import annotations

import pytest
import torch

from jamba_ray.data.prepared import PreparedData
from tests.training.trials import make_data


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Sums depend on the number of threads, so equality is claimed for one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> PreparedData:
    return make_data()
