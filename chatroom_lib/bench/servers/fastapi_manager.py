"""FastAPI on uvicorn, with the connection manager of FastAPI's documentation: one send after another."""

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from chatroom_lib.bench.process import listen

app = FastAPI()
active = []


@app.websocket("/")
async def visit(websocket: WebSocket):
    await websocket.accept()
    active.append(websocket)
    try:
        while True:
            message = await websocket.receive_text()
            for other in active:
                await other.send_text(message)
    except WebSocketDisconnect:
        active.remove(websocket)


uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listen()])
