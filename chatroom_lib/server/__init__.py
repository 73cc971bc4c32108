"""A room on real sockets: a `websockets` server around it, and the page to chat from."""
