"""aiohttp: a list of sockets, and one send after another to all but the speaker.

After https://github.com/aio-libs/aiohttp/blob/master/examples/web_ws.py. Added: the port. Left out: the page.
"""

import sys

from aiohttp import WSMsgType, web

SOCKETS = web.AppKey("sockets", list)


async def handler(request):
    sockets, own = request.app[SOCKETS], web.WebSocketResponse()
    await own.prepare(request)
    await own.send_str("Welcome!!!")
    try:
        print("Someone joined.")
        for other in sockets:
            await other.send_str("Someone joined")
        sockets.append(own)
        async for message in own:
            if message.type is not WSMsgType.TEXT:
                return own
            for other in sockets:
                if other is not own:
                    await other.send_str(message.data)
        return own
    finally:
        sockets.remove(own)
        print("Someone disconnected.")
        for other in sockets:
            await other.send_str("Someone disconnected.")


async def close_all(app):
    for socket in app[SOCKETS]:
        await socket.close()


app = web.Application()
app[SOCKETS] = []
app.router.add_get("/", handler)
app.on_shutdown.append(close_all)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
