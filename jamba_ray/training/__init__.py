"""Trains K >= 1 trials of one structure: from configurations and rows to outcomes."""

from jamba_ray.training.fit import fit
from jamba_ray.training.member import (
    KEPT,
    Decision,
    Finish,
    Join,
    Member,
    Outcome,
    Report,
    Reporter,
    Save,
    State,
    common_structure,
    structure_of,
)

__all__ = [
    "KEPT",
    "Decision",
    "Finish",
    "Join",
    "Member",
    "Outcome",
    "Report",
    "Reporter",
    "Save",
    "State",
    "common_structure",
    "fit",
    "structure_of",
]
