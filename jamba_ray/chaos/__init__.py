"""Chaos: small sweeps under seeded faults, and an independent checker of what was promised."""
