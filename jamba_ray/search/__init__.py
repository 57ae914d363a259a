"""The search: an Optuna study that is the truth, and Ray Tune that schedules its trials."""
