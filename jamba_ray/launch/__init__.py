"""Where trials run: the run folder, the arithmetic of lanes, the Ray session, the lane."""
