"""What a cluster costs, from its own file and the price table that ships."""

from __future__ import annotations

import pytest
import yaml

from jamba_ray.cluster.nodes import BOOTSTRAP
from jamba_ray.cluster.prices import cluster_usd_per_hour, priced, read_prices
from jamba_ray.config.budget import BudgetSection
from jamba_ray.errors import ConfigError
from tests.cluster import files

TABLE = files.CLUSTER / "prices.yaml"


@pytest.mark.parametrize(
    ("name", "rate"), [("aws", 0.096 + 4 * 0.606), ("gcp", 0.0971 + 4 * 0.4269)]
)
def test_the_clusters_that_ship_have_a_price(name, rate):
    kinds = files.load(name)["available_node_types"]
    assert cluster_usd_per_hour(kinds, read_prices(TABLE), "t") == pytest.approx(rate)


def test_on_demand_is_on_demand():
    node = {"InstanceType": "g5.2xlarge"}
    kinds = {"gpu": {"max_workers": 2, "node_config": node}}
    assert cluster_usd_per_hour(kinds, read_prices(TABLE), "t") == pytest.approx(2 * 1.212)


def test_a_spot_machine_without_a_spot_price_costs_the_other():
    node = {"InstanceType": "m6i.large", "InstanceMarketOptions": {"MarketType": "spot"}}
    kinds = {"cpu": {"max_workers": 1, "node_config": node}}
    assert cluster_usd_per_hour(kinds, read_prices(TABLE), "t") == pytest.approx(0.096)


def test_machines_that_the_table_lacks_are_named():
    kinds = {"big": {"max_workers": 1, "node_config": {"InstanceType": "p9.huge"}}}
    with pytest.raises(ConfigError, match=r"p9\.huge.*prices\.yaml lacks.*usd_per_hour"):
        cluster_usd_per_hour(kinds, read_prices(TABLE), "cluster/prices.yaml")


def test_the_price_is_found_on_the_head(tmp_path):
    (tmp_path / BOOTSTRAP).write_text(yaml.safe_dump(files.load("aws")))
    budget = BudgetSection(usd=10.0, prices=str(TABLE))
    assert priced(budget, tmp_path).usd_per_hour == pytest.approx(0.096 + 4 * 0.606)
    told = BudgetSection(usd=10.0, usd_per_hour=9.0)
    assert priced(told, tmp_path) == told
    assert priced(budget, tmp_path / "nowhere") == budget


@pytest.mark.parametrize("text", ["", "a: 1", "as_of: x\nusd_per_hour: {m: {on_demand: -1}}", "{"])
def test_what_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"`budget.prices` must name a table"):
        read_prices(path)
