"""An ASGI application where a room can stand: `simulate(asgi(app), scenario)`, `serve(asgi("main:app"))`.

FastAPI, Starlette, Litestar and Quart make such applications, and so does `async def app(scope, receive, send)`.
"""

from chatroom_lib.rooms.asgi.application import PATH as PATH, Application as Application, asgi as asgi
from chatroom_lib.rooms.asgi.room import AsgiRoom as AsgiRoom
