"""How many connections this process may have open: each is a file descriptor, and systems limit those."""

import logging

try:
    import resource
except ImportError:  # Windows
    resource = None

# At most this many: what macOS allows if it sets no limit. (Some systems allow a billion, and then programs that close
# every descriptor which they might have take minutes to start.)
OPEN_FILES = 10_000
NO_MORE = (
    "chatroom: too many open files, so nobody else can join until somebody leaves; "
    "to let more in, raise the limit (ulimit -n) before you start the server"
)


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one, or to `OPEN_FILES`, whichever is lower."""
    if resource:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class SayItOnce(logging.Filter):
    """For asyncio's logger, which has a traceback for every connection that it cannot accept, and one for every time
    that it would try again after the server has stopped (python/cpython issue 151615)."""

    said = False

    def filter(self, record: logging.LogRecord) -> bool:
        text, _, _ = str(record.msg).partition("\n")
        if text.startswith("Exception in callback ") and "._start_serving(" in text:
            return False
        if not text.startswith("socket.accept() out of system resource"):
            return True
        first, self.said = not self.said, True
        record.msg, record.exc_info = NO_MORE, None
        return first
