"""aiohttp, with the loop of its chat example: one send after another."""

from aiohttp import WSMsgType, web

from chatroom_lib.bench.process import listen

active = []


async def visit(request):
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    active.append(websocket)
    try:
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                for other in active:
                    await other.send_str(message.data)
    finally:
        active.remove(websocket)
    return websocket


app = web.Application()
app.router.add_get("/", visit)
web.run_app(app, sock=listen(), print=None, handle_signals=False)
