// ws, the WebSocket library of Node.js, with the loop of its README: send() to every client, without waiting for it.
const { WebSocket, WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024 });

server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

server.on("listening", () => console.log(`serving at ws://127.0.0.1:${server.address().port}/`));
process.stdin.on("end", () => process.exit(0)).resume();
