"""Simulated people: what they do (scenario.py), how they do it (player.py), and the load client (load.py)."""
