"""Is this room right? Every guarantee, in every scenario, with many seeds: check.py, and the scorecard."""
