"""Talks to clusters: nodes, resources, prices, the job client and the submission of jobs."""
