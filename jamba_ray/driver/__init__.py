"""Runs a sweep on Ray: the study's actor, the Ray Tune loop, the monitor and the signals."""
