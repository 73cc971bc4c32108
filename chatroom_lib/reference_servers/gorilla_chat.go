// gorilla/websocket: a hub owns the clients, each of which has a goroutine that reads and one that writes. The hub
// drops a client whose outbox is full; what waits in an outbox is written as one frame, a line for each message.
//
// After https://github.com/gorilla/websocket/tree/v1.5.0/examples/chat, with its limits: 512 bytes in a message, a ping
// every 54 s, 60 s for the pong, 10 s for a write. Added: the port. Left out: the page.
package main

import (
	"bytes"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeWait      = 10 * time.Second
	pongWait       = 60 * time.Second
	pingPeriod     = pongWait * 9 / 10
	maxMessageSize = 512
)

var upgrader = websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}

type client struct {
	hub    *hub
	conn   *websocket.Conn
	outbox chan []byte
}

type hub struct {
	clients              map[*client]bool
	broadcast            chan []byte
	register, unregister chan *client
}

func (h *hub) run() {
	for {
		select {
		case newcomer := <-h.register:
			h.clients[newcomer] = true
		case gone := <-h.unregister:
			h.remove(gone)
		case message := <-h.broadcast:
			for each := range h.clients {
				select {
				case each.outbox <- message:
				default:
					h.remove(each)
				}
			}
		}
	}
}

func (h *hub) remove(gone *client) {
	if h.clients[gone] {
		delete(h.clients, gone)
		close(gone.outbox)
	}
}

func (c *client) read() {
	defer func() {
		c.hub.unregister <- c
		c.conn.Close()
	}()
	c.conn.SetReadLimit(maxMessageSize)
	c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		_, message, err := c.conn.ReadMessage()
		if err != nil {
			if websocket.IsUnexpectedCloseError(err, websocket.CloseGoingAway, websocket.CloseAbnormalClosure) {
				log.Printf("error: %v", err)
			}
			return
		}
		c.hub.broadcast <- bytes.TrimSpace(bytes.ReplaceAll(message, []byte("\n"), []byte(" ")))
	}
}

func (c *client) write() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		c.conn.Close()
	}()
	for {
		select {
		case message, open := <-c.outbox:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if !open {
				c.conn.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			if c.writeAll(message) != nil {
				return
			}
		case <-ticker.C:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if c.conn.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

// The message, and what is in the outbox by now, as one frame.
func (c *client) writeAll(message []byte) error {
	writer, err := c.conn.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	writer.Write(message)
	for waiting := len(c.outbox); waiting > 0; waiting-- {
		writer.Write([]byte("\n"))
		writer.Write(<-c.outbox)
	}
	return writer.Close()
}

func main() {
	h := &hub{map[*client]bool{}, make(chan []byte), make(chan *client), make(chan *client)}
	go h.run()
	http.HandleFunc("/ws", func(answer http.ResponseWriter, request *http.Request) {
		conn, err := upgrader.Upgrade(answer, request, nil)
		if err != nil {
			log.Println(err)
			return
		}
		c := &client{h, conn, make(chan []byte, 256)}
		h.register <- c
		go c.write()
		go c.read()
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
