"""uWebSockets, through socketify: the speaker gets what is said back, and it is published to the others.

After https://github.com/cirospaciari/socketify.py/blob/main/examples/broadcast.py, with its options: who says nothing
for 12 s is disconnected. Added: the port.
"""

import sys

from socketify import App, AppListenOptions, CompressOptions


def opened(socket):
    print("A WebSocket got connected!")
    socket.subscribe("broadcast")


def said(socket, message, opcode):
    socket.send(message, opcode)
    socket.publish("broadcast", message, opcode)  # to all subscribers but this one


app = App()
app.ws(
    "/*",
    {
        "compression": CompressOptions.SHARED_COMPRESSOR,
        "max_payload_length": 16 * 1024 * 1024,
        "idle_timeout": 12,
        "open": opened,
        "message": said,
        "close": lambda socket, code, message: print("WebSocket closed"),
    },
)
app.any("/", lambda answer, request: answer.end("Nothing to see here!"))
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: print("Listening"))
app.run()
