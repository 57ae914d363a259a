"""What is written down of a run as it goes: local rows first, followers (W&B) after them."""
