"""What a client calls itself: it says so in the User-Agent header of its handshake."""

from urllib.parse import quote, unquote

AGENT = "chatroom-client "


def user_agent(name: str) -> str:
    """The User-Agent header in which a client tells `stated_name` its name."""
    return AGENT + quote(name)


def stated_name(connection) -> str | None:
    """A client's self-declared name, from the User-Agent header of its handshake; None if it does not say."""
    agent = connection.request.headers.get("User-Agent", "") if connection.request else ""
    return unquote(agent.removeprefix(AGENT)) if agent.startswith(AGENT) else None


def name_of_client(connection) -> str:
    """What a client calls itself, or its address."""
    name = stated_name(connection)
    if name is not None:
        return name
    return "{}:{}".format(*(connection.remote_address or ("?", "?"))[:2])
