"""Holds later rows against those that a model was judged on, and says what has changed."""
