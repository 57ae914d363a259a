"""Turns command lines into configuration and results into text; Hydra is used only here."""
