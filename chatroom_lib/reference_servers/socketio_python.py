"""python-socketio on uvicorn: an event of a client, emitted to all.

After https://github.com/miguelgrinberg/python-socketio/blob/main/examples/server/asgi/app.py, its event
`my_broadcast_event`. Added: the port. Left out: the page, the rooms, and a message of the server's every ten seconds.
"""

import sys

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi")


@server.on("connect")
async def connected(client, environ):
    await server.emit("my_response", {"data": "Connected", "count": 0}, room=client)


@server.on("my_broadcast_event")
async def said(client, message):
    await server.emit("my_response", {"data": message["data"]})


@server.on("disconnect")
def disconnected(client):
    print("Client disconnected")


uvicorn.run(socketio.ASGIApp(server), host="127.0.0.1", port=int(sys.argv[1]))
