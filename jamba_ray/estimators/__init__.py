"""Defines the model families that are no networks: an estimator each, with fit and predict_proba.

A file that calls ``estimator.register`` adds one, nothing else lists them.
"""
