"""Computes what a cluster costs per hour from a price table and the file that ``ray up`` leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from jamba_ray.cluster.nodes import BOOTSTRAP
from jamba_ray.config.budget import BudgetSection
from jamba_ray.config.section import Section
from jamba_ray.config.yaml_text import YamlTextError, read_yaml
from jamba_ray.errors import ConfigError

Usd = Annotated[float, Field(ge=0.0)]


class Price(Section):
    """Holds the price of one machine in US dollars per hour."""

    on_demand: Usd
    spot: Usd | None = None
    """None: unknown; the on-demand price is used, which spot does not exceed."""


class PriceTable(Section):
    """Describes ``cluster/prices.yaml``."""

    as_of: str
    """The date of the prices."""
    usd_per_hour: dict[str, Price]
    """By instance type."""


def priced(budget: BudgetSection, home: Path | None = None) -> BudgetSection:
    """Returns ``budget`` with the cluster's price in it, if the budget is in dollars.

    Raises:
        ConfigError: The table is missing or wrong, or lacks a machine of this cluster.
    """
    if budget.usd is None or budget.usd_per_hour is not None:
        return budget
    try:
        kinds = read_yaml((home or Path.home()) / BOOTSTRAP)["available_node_types"]
    except (OSError, TypeError, KeyError, YamlTextError):
        return budget
    rate = cluster_usd_per_hour(kinds, read_prices(Path(budget.prices)), budget.prices)
    return budget.model_copy(update={"usd_per_hour": rate})


def read_prices(path: Path) -> PriceTable:
    """Reads the table at ``path``.

    Raises:
        ConfigError: It cannot be read, or is no such table.
    """
    try:
        return PriceTable.model_validate(read_yaml(path))
    except (OSError, ValidationError, YamlTextError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            [
                f"`budget.prices` must name a table of prices, but {str(path)!r} is none ({first})."
                " Give the path of one like cluster/prices.yaml, or `budget.usd_per_hour`."
            ]
        ) from None


def cluster_usd_per_hour(
    kinds: Mapping[str, Mapping[str, Any]], table: PriceTable, where: str
) -> float:
    """Returns the price per hour of all machines that a cluster of these node types may have.

    Args:
        kinds: ``available_node_types`` as ``ray up`` completes it; a type without
            ``max_workers`` is the head.
        table: The prices.
        where: The table's name for messages.

    Raises:
        ConfigError: The table lacks a machine.
    """
    total, unknown = 0.0, []
    for kind in kinds.values():
        node = kind.get("node_config", {})
        machine = str(node.get("InstanceType") or node.get("machineType") or "no instance type")
        price = table.usd_per_hour.get(machine)
        if price is None:
            unknown.append(machine)
            continue
        each = price.on_demand if price.spot is None or not _is_spot(node) else price.spot
        # Ray sets a head's `max_workers` to 0, although there is one head.
        total += each * max(1, int(kind.get("max_workers", 0)))
    if unknown:
        raise ConfigError(
            [
                f"`budget.usd` needs the price of {', '.join(sorted(set(unknown)))}, which "
                f"{where} lacks. Add it there, or give `budget.usd_per_hour`."
            ]
        )
    return total


def _is_spot(node: Mapping[str, Any]) -> bool:
    """Says whether a node of AWS or Google Cloud is a spot machine."""
    market = node.get("InstanceMarketOptions") or {}
    scheduling = node.get("scheduling") or {}
    return (
        market.get("MarketType") == "spot"
        or scheduling.get("provisioningModel") == "SPOT"
        or bool(scheduling.get("preemptible"))
    )
