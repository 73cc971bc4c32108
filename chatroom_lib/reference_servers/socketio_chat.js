// Socket.IO on Node.js: the event "chat message" of a client, emitted to all.
//
// After https://socket.io/docs/v4/tutorial/step-5. Added: the port. Left out: the page, and Express, which serves it.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const server = createServer();
const io = new Server(server);

io.on("connection", (socket) => {
  socket.on("chat message", (message) => {
    io.emit("chat message", message);
  });
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
