"""python-socketio on uvicorn: `emit` to all clients, which speak Socket.IO over a WebSocket from the start."""

import socketio
import uvicorn

from chatroom_lib.bench.process import listen

server = socketio.AsyncServer(async_mode="asgi", ping_interval=3600)


@server.event
async def message(client, data):
    await server.emit("message", data)


uvicorn.Server(uvicorn.Config(socketio.ASGIApp(server), log_level="critical")).run(sockets=[listen()])
