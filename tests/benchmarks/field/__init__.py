"""Measures how good models are where they will be used, beside library defaults and tuned trees."""
