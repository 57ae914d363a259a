"""Runs small sweeps under seeded faults and checks with independent code what was promised."""
