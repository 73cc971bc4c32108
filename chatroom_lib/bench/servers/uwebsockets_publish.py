"""uWebSockets through socketify, with publish and subscribe as in its broadcast example.

It gathers what is published in one iteration of its event loop, and writes it to each subscriber in one piece.
"""

from socketify import App, AppListenOptions

app = App()


def opened(socket):
    socket.subscribe("room")


def said(socket, message, opcode):
    app.publish("room", message, opcode)  # and not socket.publish, which leaves the speaker out


app.ws("/*", {"compression": False, "idle_timeout": 0, "open": opened, "message": said})
app.listen(
    AppListenOptions(port=0, host="127.0.0.1"),
    lambda config: print(f"serving at ws://127.0.0.1:{config.port}/", flush=True),
)
app.run()
