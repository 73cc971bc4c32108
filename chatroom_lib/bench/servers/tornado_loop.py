"""Tornado, with the loop of its chat demo: `write_message`, without waiting for it."""

import asyncio

from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from chatroom_lib.bench.process import listen

active = {}


class Visit(WebSocketHandler):
    def open(self):
        self.set_nodelay(True)
        active[self] = None

    def on_message(self, message):
        for other in list(active):
            try:
                other.write_message(message)
            except WebSocketClosedError:
                pass

    def on_close(self):
        del active[self]


async def main():
    server = HTTPServer(Application([("/", Visit)]))
    listener = listen()
    listener.setblocking(False)
    server.add_socket(listener)
    await asyncio.Event().wait()


asyncio.run(main())
