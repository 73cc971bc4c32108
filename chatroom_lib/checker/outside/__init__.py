"""Is this server right? Any server, by what can be seen from outside."""
