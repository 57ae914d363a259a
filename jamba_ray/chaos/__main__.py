"""Runs real sweeps under seeded faults and prints a table: ``python -m jamba_ray.chaos``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jamba_ray.errors import ExitCode

if TYPE_CHECKING:
    from jamba_ray.chaos.fault_runner import Round

_LEGEND = """\
seconds: from the fault to the next acknowledged step, the slowest; after Ray: of them since Ray was
up again; redone: steps that were done twice, at most one checkpoint interval a trial and fault"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sweep with each chosen fault; returns 0 if every promise was kept, else 70."""
    options = argparse.ArgumentParser(
        prog="jamba-ray chaos",
        description="Do seeded faults to small real sweeps and check that nothing was lost, run "
        "again or hidden. Takes about a minute a fault on 2 cores.",
    )
    options.add_argument("--faults", default="", help="only faults whose name holds one of these")
    options.add_argument("--times", type=int, default=1, help="injections of each fault (1)")
    options.add_argument("--trials", type=int, default=6, help="trials of each sweep (6)")
    options.add_argument("--seed", type=int, default=0, help="of the moments and the places")
    options.add_argument("--folder", type=Path, help="where the sweeps run; kept afterwards")
    options.add_argument("--list", action="store_true", help="name the faults and end")
    given = options.parse_args(argv)
    # Here and not above: `--help` needs no torch.
    from jamba_ray.chaos.fault_runner import run_round
    from jamba_ray.chaos.faults import FAULTS

    words = [word.strip() for word in given.faults.split(",") if word.strip()]
    chosen = [f for f in FAULTS if not words or any(word in f.name for word in words)]
    console = Console()
    if given.list or not chosen:
        for fault in FAULTS:
            console.print(fault.name, highlight=False)
        return ExitCode.OK if given.list else ExitCode.CONFIG
    with tempfile.TemporaryDirectory(prefix="jr-chaos-") as scratch:
        root = given.folder or Path(scratch)
        rounds = []
        for n, fault in enumerate(chosen):
            console.print(f"{n + 1}/{len(chosen)} {fault.name} ...", highlight=False)
            rounds.append(
                run_round(
                    root / f"{n:02d}" / "run",
                    fault,
                    times=given.times,
                    n_trials=given.trials,
                    seed=given.seed,
                )
            )
    console.print(_table(rounds))
    console.print(_LEGEND, highlight=False, soft_wrap=True)
    broken = [sentence for r in rounds for sentence in r.verdict.broken]
    for sentence in broken:
        console.print(f"BROKEN: {sentence}", style="red", highlight=False, markup=False)
    missed = [r.fault for r in rounds if r.recovered < r.injected or not r.injected]
    if broken or missed:
        console.print(f"seed {given.seed}: promises were broken.", style="bold red")
        return ExitCode.INTERNAL
    console.print(f"seed {given.seed}: every promise was kept.", style="bold green")
    return ExitCode.OK


def _table(rounds: Sequence[Round]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    words = ("fault", "verdict")
    for name in ("fault", "injected", "recovered", "seconds", "after Ray", "redone", "verdict"):
        table.add_column(name, justify="left" if name in words else "right")
    for r in rounds:
        table.add_row(
            r.fault,
            str(r.injected),
            str(r.recovered),
            _seconds(r.seconds),
            _seconds(r.of_them_ours),
            str(r.verdict.redone),
            "[red]broken[/]" if r.verdict.broken else "[green]kept[/]",
        )
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
