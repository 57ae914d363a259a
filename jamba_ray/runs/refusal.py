"""What is shown while a store refuses, in the same words for the study and for checkpoints."""

from __future__ import annotations


def refusal(error: Exception, waited_s: float, patience_s: float) -> str:
    """``the store refuses (no space left on device): trying again, 12 of 60 s``."""
    cause = error.__cause__ or error
    why = getattr(cause, "strerror", None) or str(cause)
    return f"the store refuses ({why.lower()}): trying again, {waited_s:.0f} of {patience_s:g} s"
