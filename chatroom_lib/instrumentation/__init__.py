"""Watching a room from outside, without a line of measuring code inside it."""
