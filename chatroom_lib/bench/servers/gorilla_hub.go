// gorilla/websocket, with the hub that Go programs usually have: one goroutine owns the clients, every client has a
// goroutine that reads and one that writes, and a client whose outbox is full is disconnected.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

type client struct {
	connection *websocket.Conn
	outbox     chan []byte
}

var (
	register   = make(chan *client)
	unregister = make(chan *client)
	broadcast  = make(chan []byte)
	upgrader   = websocket.Upgrader{}
)

// The only goroutine that touches the map of clients, and that closes an outbox.
func runHub() {
	clients := map[*client]bool{}
	remove := func(gone *client) {
		if clients[gone] {
			delete(clients, gone)
			close(gone.outbox)
		}
	}
	for {
		select {
		case newcomer := <-register:
			clients[newcomer] = true
		case gone := <-unregister:
			remove(gone)
		case message := <-broadcast:
			for other := range clients {
				select {
				case other.outbox <- message:
				default:
					remove(other)
				}
			}
		}
	}
}

func visit(answer http.ResponseWriter, request *http.Request) {
	connection, err := upgrader.Upgrade(answer, request, nil)
	if err != nil {
		return
	}
	visitor := &client{connection, make(chan []byte, 256)}
	register <- visitor
	go visitor.write()
	for {
		_, message, err := connection.ReadMessage()
		if err != nil {
			break
		}
		broadcast <- message
	}
	unregister <- visitor
}

// The only goroutine that writes to this connection.
func (visitor *client) write() {
	defer visitor.connection.Close()
	for message := range visitor.outbox {
		if visitor.connection.WriteMessage(websocket.TextMessage, message) != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go runHub()
	go func() { // it ends with its input, as the other servers do
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("serving at ws://%s/\n", listener.Addr())
	http.Serve(listener, http.HandlerFunc(visit))
}
