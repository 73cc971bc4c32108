"""A room and a scenario go in, a Trace comes out: in virtual time (simulation.py) or on real sockets (live.py)."""
