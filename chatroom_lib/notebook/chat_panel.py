"""A chat panel in a notebook: it joins a room, shows what is said there, and sends what you type.

    alice, bob = panels = chat(server, "Alice", "Bob")    # as a cell's last line: panels
    await alice.say("hello")                              # what typing and Enter do
    await bob.heard("hello")

Which thread does what: what you do in the browser may arrive on any thread, and cells run on the kernel's.
Both only hand over to the background loop. There, on one thread, everything else happens: the connection, the
state, the log, and the drawing of it. So nothing here needs a lock.
"""

import asyncio
from collections.abc import Iterable
from html import escape

import ipywidgets
from ipywidgets import Layout

from chatroom_lib.notebook.chat_log import shortened
from chatroom_lib.notebook.chat_session import ChatSession, NotJoined, checked_name, checked_url
from chatroom_lib.runtime.background import background_loop, submit
from chatroom_lib.server.server import Server

DRAWING = 0.1  # seconds at least between two drawings of the log,
DRAWN = 500_000  # and characters of it that go to the browser in a second at most
PATIENCE = 0.5  # seconds from Enter within which the text arrives, see Field


class Field(ipywidgets.Text):
    """A line of text that calls `entered` with it on Enter, on the background loop.

    The front end tells of Enter at once. If the text has changed since it last told us, it tells the text
    right after; it does so too when the field loses the focus, which is no Enter. So we wait for a text after
    Enter; if none comes within `PATIENCE` seconds, the one we know is still the one in the field.
    Changing anything about this widget sets back what somebody is typing in it. So we only ever empty it; and
    what is typed between Enter and that, some 30 ms, is lost.
    """

    def __init__(self, entered, **options):
        super().__init__(continuous_update=False, **options)
        self.entered = entered
        self.timer: asyncio.TimerHandle | None = None  # runs from Enter until its text is there
        attend_at_once(self)
        self.on_msg(self.on_event)
        self.observe(self.on_text, "value")

    def on_event(self, _widget, content, _buffers) -> None:
        if content.get("event") == "submit":
            background_loop().call_soon_threadsafe(self.enter)

    def on_text(self, change) -> None:
        background_loop().call_soon_threadsafe(self.come, change["new"])

    def enter(self) -> None:
        if not self.timer:
            self.timer = background_loop().call_later(PATIENCE, self.take)

    def come(self, text: str) -> None:
        if self.timer and text:  # and not our own emptying
            self.take(text)

    def take(self, text: str = "") -> None:
        """Enter was pressed, and the field holds `text`, or what we know."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
        text = text or self.value
        if text.strip():
            self.entered(text)


def attend_at_once(widget: ipywidgets.Widget) -> None:
    """Let what the browser says to `widget` be heard while a cell computes, as JupyterLab means it to be.

    ipykernel 7.4 keeps the first message for the thread of the cell that has made the widget, in case that thread
    waits for an answer. We never do.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, subshell: subshell


STYLE = """<style>
.chatroom-log { border: 1px solid var(--jp-border-color1, #999); border-radius: 3px; padding: 3px;
  color: var(--jp-ui-font-color1, inherit); background: var(--jp-layout-color0, transparent); }
/* The log hangs on its lower end. A reader further up keeps the place, as the browser holds on to the log's
   upper end; and to nothing inside, for all of that is made anew with every line. */
.chatroom-log * { overflow-anchor: none; }
.chatroom-log > .widget-html { overflow-anchor: auto; flex-shrink: 0; }
.chatroom-log p, .chatroom-status p { margin: 0; padding: 2px 6px; border-left: 3px solid transparent;
  line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; }
.chatroom-log .own { border-color: var(--jp-brand-color1, #1976d2);
  background: var(--jp-layout-color2, #8882); }
.chatroom-log .news { color: var(--jp-ui-font-color2, #777); font-style: italic; }
.chatroom-log .trouble { border-color: var(--jp-error-color1, #d32f2f); }
.chatroom-status p { border-color: var(--jp-border-color1, #999); color: var(--jp-ui-font-color1, inherit); }
.chatroom-status .joined { border-color: var(--jp-success-color1, #388e3c); }
.chatroom-status .lost { border-color: var(--jp-error-color1, #d32f2f); }
/* After a restart of the kernel JupyterLab marks each widget as disconnected. One sentence says it better. */
.chatroom-panel.jupyter-widgets-disconnected::before,
.chatroom-panel .jupyter-widgets-disconnected::before { display: none; }
.chatroom-status.jupyter-widgets-disconnected p { display: none; }
.chatroom-status.jupyter-widgets-disconnected::after { padding: 2px 6px;
  border-left: 3px solid var(--jp-error-color1, #d32f2f); color: var(--jp-ui-font-color1, inherit);
  content: "Not connected: the kernel that ran this panel has ended. Run the cell again."; }
</style>"""

_panels: list["ChatPanel"] = []  # those that no newer one has replaced; changed on the background loop only


class ChatPanel(ipywidgets.VBox):
    """A panel to chat from as `name`, in the room of a `Server` or at a `ws://` address. It joins by itself.

    A panel that you make for the same room and name replaces this one, so a cell can be run again. (`replaces`:
    names of other panels that are to leave first, too.)
    Raises ValueError if the address or the name cannot be one.
    """

    def __init__(self, url: "str | Server", name: str, *, replaces: Iterable[str] = ()):
        self.url, self.first_name = checked_url(url), checked_name(name)
        self.replaces = {self.first_name, *replaces}
        self.session = ChatSession(self.url, self.first_name, self.changed)
        self.started = asyncio.Event()  # it has joined for the first time, or failed to
        self.replaced = False
        self.sending = set()  # texts from the field that are being handed to the connection
        self.work = set()  # what the browser has asked for and is under way
        self.drawing: asyncio.TimerHandle | None = None
        self.may_draw = 0.0  # from when on, on the loop's clock
        layout = Layout(flex="1 1 300px", min_width="0", max_width="640px")
        super().__init__(self.make_widgets(), layout=layout)
        self.add_class("chatroom-panel")
        self.draw_now()
        self.do(self.start())

    # ------------------------------------------------------------ for cells

    async def join(self) -> bool:
        """Join as the name field says; returns whether it is in. If not, `status` says why.

        Raises ValueError if the name cannot be one.
        """
        return await submit(self.enter())

    async def leave(self) -> None:
        """Leave the room; ends within 2 s."""
        await submit(self.session.leave())

    async def say(self, content: str) -> None:
        """Say it, once all panels of this room that are joining have joined.

        Raises NotJoined if this one is not in the room, and ValueError if `content` is no text.
        """
        await submit(self.speak(content))

    async def heard(self, content: str, timeout: float = 5) -> None:
        """Return once the log has a message with that content, or had it already.

        Raises TimeoutError after `timeout` seconds.
        """
        await submit(self.session.hear(content, timeout))

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def state(self) -> str:
        """ "joining", "joined", "left" (we went) or "lost" (the connection did, or it was never made)."""
        return self.session.state

    @property
    def status(self) -> str:
        """The status line."""
        people = self.session.people
        if people is None:
            return self.session.status
        return f"{self.session.status} {people} {'person is' if people == 1 else 'people are'} in the room."

    @property
    def lines(self) -> list[str]:
        """The log, the last 200 lines of it."""
        return [line.plain for line in self.session.lines]

    # ------------------------------------------------------------ the widgets

    def make_widgets(self) -> list[ipywidgets.Widget]:
        self.name_field = self.field("Name", "Your name", self.name_entered, value=self.first_name)
        self.message = self.field("Message", "Type, then press Enter", self.entered)
        self.join_button = self.button("Join", lambda: self.do(self.enter()))
        self.leave_button = self.button("Leave", lambda: self.do(self.session.leave()))
        self.send_button = self.button("Send", self.send_clicked)
        self.status_html = ipywidgets.HTML()
        self.status_html.add_class("chatroom-status")
        top = ipywidgets.HBox([self.name_field, self.join_button, self.leave_button])
        bottom = ipywidgets.HBox([self.message, self.send_button])
        style = ipywidgets.HTML(STYLE, layout=Layout(display="none"))
        return [style, top, self.status_html, self.make_log(), bottom]

    def make_log(self) -> ipywidgets.Widget:
        self.log_html = ipywidgets.HTML(layout=Layout(margin="0 0 auto 0", width="100%"))
        layout = Layout(height="240px", overflow="auto", flex_flow="column-reverse", flex="0 0 auto")
        box = ipywidgets.VBox([self.log_html], layout=layout)
        box.add_class("chatroom-log")
        return box

    def field(self, label: str, hint: str, entered, **options) -> Field:
        fits, style = Layout(width="auto", flex="1 1 0", min_width="0"), {"description_width": "5em"}
        return Field(entered, description=label, placeholder=hint, layout=fits, style=style, **options)

    def button(self, words: str, clicked) -> ipywidgets.Button:
        button = ipywidgets.Button(description=words, layout=Layout(width="7.5em", flex="0 0 auto"))
        attend_at_once(button)
        button.on_click(lambda _button: clicked())
        return button

    def changed(self) -> None:
        """Draw soon: at once after a quiet time, but not for every line of many."""
        if not self.drawing:
            loop = background_loop()
            self.drawing = loop.call_at(max(loop.time(), self.may_draw), self.draw)

    def draw(self) -> None:
        self.drawing = None
        self.draw_now()
        self.may_draw = background_loop().time() + max(DRAWING, len(self.log_html.value) / DRAWN)

    def draw_now(self) -> None:
        guest = self.session
        away = guest.state in ("left", "lost")
        self.status_html.value = f'<p role="status" class="{guest.state}">{escape(self.status)}</p>'
        self.log_html.value = '<div role="log">{}</div>'.format(
            "".join(f'<p class="{line.kind}">{line.markup}</p>' for line in guest.lines)
        )
        self.join_button.description = "Join again" if guest.state == "lost" else "Join"
        self.join_button.disabled = self.replaced or not away
        self.leave_button.disabled = away
        self.send_button.disabled = self.replaced

    # ------------------------------------------------------------ what the browser asks for; on any thread

    def do(self, coroutine) -> None:
        """Start `coroutine` on the background loop. What goes wrong in it is told in the log."""
        future = asyncio.run_coroutine_threadsafe(self.attempt(coroutine), background_loop())
        self.work.add(future)
        future.add_done_callback(self.work.discard)

    async def attempt(self, coroutine) -> None:
        try:
            await coroutine
        except ValueError as error:  # a bad name
            self.session.trouble(f"Not done: {error}.")
        except Exception as error:
            self.session.trouble(f"Not done: {type(error).__name__}: {error}")

    def entered(self, text: str) -> None:
        if text not in self.sending:  # otherwise, Enter was pressed twice
            self.sending.add(text)
            self.do(self.say_typed(text))

    def name_entered(self, _name: str) -> None:
        self.do(self.enter())

    def send_clicked(self) -> None:
        # The field has lost the focus to the button, so as a rule we know its text.
        send = self.message.take if self.message.value else self.message.enter
        background_loop().call_soon_threadsafe(send)

    # ------------------------------------------------------------ on the background loop

    async def start(self) -> None:
        """Join, after the panels of this room that were made earlier. Those that we replace leave for us."""
        earlier = [panel for panel in _panels if panel.url == self.url]
        _panels.append(self)
        try:
            for panel in earlier:
                if self.replaces & {panel.first_name, panel.name}:
                    await panel.retire()
                await panel.started.wait()
            if self.state == "joining":  # nobody has pressed Leave meanwhile
                await self.session.join(self.first_name)
        finally:
            self.started.set()

    async def enter(self) -> bool:
        if self.replaced:
            return False
        if self.state == "joining":
            await self.started.wait()
        return await self.session.join(checked_name(self.name_field.value))

    async def speak(self, content: str) -> None:
        await self.started.wait()  # by then, those made together with us are known
        for panel in [panel for panel in _panels if panel.url == self.url]:
            await panel.started.wait()
        await self.session.say(content)

    async def say_typed(self, text: str) -> None:
        """Send `text`. It stays in the field until it is handed to the connection."""
        try:
            await self.speak(text)
            if self.message.value == text:
                self.message.value = ""
        except (NotJoined, ValueError) as error:
            self.session.trouble(f"“{shortened(text, 100)}” was not sent. {error}")
        finally:
            self.sending.discard(text)

    async def retire(self) -> None:
        """A newer panel takes over."""
        if self in _panels:
            _panels.remove(self)
            self.replaced = True
            await self.session.leave("A newer panel has taken over.")
            self.name_field.disabled = self.message.disabled = True

    # ------------------------------------------------------------ without widgets

    def close(self) -> None:
        """Leave, and take the panel off the page."""
        if self.comm:
            self.do(self.retire())
        super().close()

    def _repr_mimebundle_(self, **options) -> dict:
        return bundle(super()._repr_mimebundle_(**options), self.transcript_html(), str(self))

    def transcript_html(self) -> str:
        """The log as it reads on a page without Python. (The two classes say that it holds no formulas.)"""
        title = f'<div style="{TITLE_STYLE}">{escape(self.name)}</div>'
        divs = [f'<div style="{PAGE_STYLES[line.kind]}">{line.markup}</div>' for line in self.session.lines]
        lines = "".join(divs)
        return f'<div class="tex2jax_ignore mathjax_ignore" style="{FRAME_STYLE}">{title}{lines}</div>'

    def __str__(self):
        return "\n".join([f"{self.name} at {self.url}: {self.state}", *("  " + line for line in self.lines)])

    def __repr__(self):
        return f"<ChatPanel {self.name} at {self.url}: {self.state}, {len(self.lines)} lines>"


FRAME_STYLE = (
    "flex:1 1 280px;max-width:640px;box-sizing:border-box;border:1px solid #8888;border-radius:4px;"
    "padding:6px 10px;line-height:1.45;text-align:left"
)
TITLE_STYLE = "font-weight:bold;border-bottom:1px solid #8888;margin-bottom:4px"
PAGE_STYLE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:2px 0;padding:0 6px;border-left:3px solid "
PAGE_STYLES = {  # colours that can be seen on a light page and on a dark one
    "own": PAGE_STYLE + "#3b82f6;background:#3b82f61f",
    "other": PAGE_STYLE + "transparent",
    "news": PAGE_STYLE + "transparent;font-style:italic;opacity:.75",
    "trouble": PAGE_STYLE + "#dc4c3f",
}


def bundle(view: dict | None, page: str, text: str) -> dict:
    """What a notebook keeps of a panel: the widget, and what is shown where it cannot run."""
    return {**(view or {}), "text/html": page, "text/plain": text}


# ---------------------------------------------------------------- several


class ChatPanels(ipywidgets.HBox):
    """Panels side by side, and below each other where there is no room: `alice, bob = panels`."""

    def __init__(self, panels: list[ChatPanel]):
        layout = Layout(flex_flow="row wrap", grid_gap="12px", align_items="flex-start")
        super().__init__(panels, layout=layout)
        self.add_class("chatroom-panel")

    def __iter__(self):
        return iter(self.children)

    def __len__(self):
        return len(self.children)

    def __getitem__(self, index):
        return self.children[index]

    def _repr_mimebundle_(self, **options) -> dict:
        pages = "".join(panel.transcript_html() for panel in self)
        page = f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{pages}</div>'
        return bundle(super()._repr_mimebundle_(**options), page, str(self))

    def __str__(self):
        return "\n".join(map(str, self))

    def __repr__(self):
        return "\n".join(map(repr, self))


def chat(target: "str | Server", *names: str) -> ChatPanels:
    """A panel for each of `names` in one room: a `Server`'s, or one at a `ws://` address. They join in order.

    Raises ValueError if a name comes twice, or if there is none.
    """
    url, names = checked_url(target), [checked_name(name) for name in names]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"give one name or more, each once, as in chat(server, 'Alice', 'Bob'), not {names}")
    first = ChatPanel(url, names[0], replaces=names)
    return ChatPanels([first, *(ChatPanel(url, name) for name in names[1:])])
