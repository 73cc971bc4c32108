"""picows, with the loop of its broadcast example: `send` to every transport, without waiting for it."""

import asyncio

from picows import WSListener, WSMsgType, ws_create_server

from chatroom_lib.bench.process import listen

active = {}


class Visit(WSListener):
    def on_ws_connected(self, transport):
        active[transport] = None

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            for other in list(active):
                other.send(WSMsgType.TEXT, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport):
        active.pop(transport, None)


async def main():
    server = await ws_create_server(lambda request: Visit(), sock=listen())
    await server.serve_forever()


asyncio.run(main())
