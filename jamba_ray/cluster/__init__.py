"""Talks to clusters: nodes, resources, prices, the job client and what a submitted job runs."""
