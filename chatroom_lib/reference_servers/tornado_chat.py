"""Tornado: `write_message()` to a set of handlers, and a cache of the last messages for the page.

After https://github.com/tornadoweb/tornado/blob/stable/demos/websocket/chatdemo.py, which calls itself simplified.
Added: the port, and the template of a message in this file. Left out: the page.
"""

import asyncio
import logging
import sys
import uuid

from tornado.escape import json_decode, to_basestring
from tornado.options import parse_command_line
from tornado.template import DictLoader
from tornado.web import Application
from tornado.websocket import WebSocketHandler

MESSAGE = """{% import tornado.escape %}
<div class="message" id="m{{ message["id"] }}">{{ tornado.escape.linkify(message["body"]) }}</div>"""
CACHED = 200


class ChatSocket(WebSocketHandler):
    waiters, cache = set(), []

    def get_compression_options(self):
        return {}  # compress, with the default options

    def open(self):
        self.waiters.add(self)

    def on_close(self):
        self.waiters.remove(self)

    def on_message(self, message):
        logging.info("got message %r", message)
        chat = {"id": str(uuid.uuid4()), "body": json_decode(message)["body"]}
        chat["html"] = to_basestring(self.render_string("message.html", message=chat))
        self.cache.append(chat)
        del self.cache[:-CACHED]
        self.send_updates(chat)

    @classmethod
    def send_updates(cls, chat):
        logging.info("sending message to %d waiters", len(cls.waiters))
        for waiter in cls.waiters:
            try:
                waiter.write_message(chat)
            except Exception:
                logging.error("Error sending message", exc_info=True)


async def main():
    parse_command_line(["chat"])  # which sets logging up
    settings = {"template_loader": DictLoader({"message.html": MESSAGE})}
    Application([("/chatsocket", ChatSocket)], **settings).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
