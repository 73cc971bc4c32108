"""A chat panel in a notebook: it joins a room, shows what is said there, and sends what you type.

    alice, bob = panels = chat(server, "Alice", "Bob")    # as a cell's last line: panels
    await alice.say("hello")                              # what typing and Enter do
    await bob.heard("hello")

Threads: events from the browser may arrive on any thread, and cells run on the kernel's. Both only submit to the
background loop. Everything else happens there, on one thread: the connection, the state, the log, and drawing it.
So nothing here needs a lock.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files

import ipywidgets
from ipywidgets import Layout

from chatroom_lib.notebook.chat_log import Line, shortened, with_gaps
from chatroom_lib.notebook.chat_session import ChatSession, NotJoined, checked_name, checked_urls
from chatroom_lib.runtime.background import background_loop, submit
from chatroom_lib.runtime.console import describe, printable
from chatroom_lib.server.server import Server

DRAW_INTERVAL = 0.1  # seconds between two drawings of the log, at least
MAX_DRAWN = 500_000  # characters of the log that are sent to the browser per second, at most
TEXT_TIMEOUT = 0.5  # seconds from Enter within which the text arrives, see Field


class Field(ipywidgets.Text):
    """A line of text that calls `entered` with it on Enter, on the background loop.

    The front end reports Enter at once. If the text has changed since its last report, it sends the text right
    after; it also does so when the field loses the focus, which is not Enter. So we wait for a text after Enter;
    if none arrives within `TEXT_TIMEOUT` seconds, the last one we received is still in the field.
    Setting any trait of this widget resets the text being typed in it. So we only ever empty it; and what is typed
    between Enter and that, some 30 ms, is lost.
    """

    def __init__(self, entered, **options):
        super().__init__(continuous_update=False, **options)
        self.entered = entered
        self.timer: asyncio.TimerHandle | None = None  # runs from Enter until its text arrives
        process_at_once(self)
        self.on_msg(self.on_event)
        self.observe(self.on_text, "value")

    def on_event(self, _widget, content, _buffers) -> None:
        if content.get("event") == "submit":
            background_loop().call_soon_threadsafe(self.enter)

    def on_text(self, change) -> None:
        background_loop().call_soon_threadsafe(self.text_arrived, change["new"])

    def enter(self) -> None:
        if not self.timer:
            self.timer = background_loop().call_later(TEXT_TIMEOUT, self.submit)

    def text_arrived(self, text: str) -> None:
        if self.timer and text:  # not emptied by us
            self.submit(text)

    def submit(self, text: str = "") -> None:
        """Enter was pressed, and the field contains `text`, or else the last text we received."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
        text = text or self.value
        if text.strip():
            self.entered(text)


def process_at_once(widget: ipywidgets.Widget) -> None:
    """Process the browser's messages to `widget` even while a cell computes, as JupyterLab intends.

    ipykernel 7.4 routes the first message to the thread of the cell that created the widget, in case that thread
    waits for a reply. Ours never does.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, subshell: subshell


CSS = files("chatroom_lib.notebook").joinpath("chat_panel.css").read_text(encoding="utf-8")
RULES = {  # selector -> declarations
    selector.strip(): " ".join(declarations.split())
    for selector, declarations in re.findall(r"([^{}]+){([^{}]*)}", re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL))
}


def style(*selectors: str) -> str:
    """A style attribute with the declarations of these rules, for pages without the stylesheet."""
    return f'style="{escape(" ".join(RULES[selector] for selector in selectors))}"'


_panels: list["ChatPanel"] = []  # not yet replaced by a newer one; changed only on the background loop


class ChatPanel(ipywidgets.VBox):
    """A panel to chat from as `name`, in the room of a `Server` or at a `ws://` address. It joins by itself. Of several
    servers with one history, a list, it goes on at the next one if it loses one.

    A new panel for the same room and name replaces this one, so a cell can be run again. (`replaces`: names of
    other panels that must leave first, too.)
    Raises ValueError if the address or the name is invalid.
    """

    def __init__(self, url: "str | Server | list[str | Server]", name: str, *, replaces: Iterable[str] = ()):
        self.urls, self.first_name = checked_urls(url), checked_name(name)
        self.url = self.urls[0]
        self.replaces = {self.first_name, *replaces}
        self.session = ChatSession(self.urls, self.first_name, self.changed)
        self.started = asyncio.Event()  # set once its first join has succeeded or failed
        self.replaced = False
        self.sending = set()  # texts from the field that are being handed to the connection
        self.work = set()  # running tasks that the browser has asked for
        self.drawing: asyncio.TimerHandle | None = None
        self.next_drawing = 0.0  # loop time before which the log is not drawn
        layout = Layout(flex="1 1 300px", min_width="0", max_width="640px")
        super().__init__(self.make_widgets(), layout=layout)
        self.add_class("chatroom-panel")
        self.draw_now()
        self.start_task(self.start())

    # ------------------------------------------------------------ for cells

    async def join(self) -> bool:
        """Join under the name in the name field; returns whether it has joined. If not, `status` says why.

        Raises ValueError if the name is invalid.
        """
        return await submit(self.enter())

    async def leave(self) -> None:
        """Leave the room; ends within 2 s."""
        await submit(self.session.leave())

    async def say(self, content: str) -> None:
        """Send `content`, once all panels of this room that are joining have joined.

        Raises NotJoined if this one is not in the room, and ValueError if `content` is not text.
        """
        await submit(self.speak(content))

    async def heard(self, content: str, timeout: float = 5) -> None:
        """Return once the log contains a message with that content, or at once if it already does.

        Raises TimeoutError after `timeout` seconds.
        """
        await submit(self.session.hear(content, timeout))

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def state(self) -> str:
        """ "joining", "joined", "left" (by us) or "lost" (the connection failed, or was never made)."""
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
        """The last 200 lines of the log; more if earlier ones were asked for. What we have not heard is not in it."""
        return [line.plain for line in self.session.lines]

    # ------------------------------------------------------------ the widgets

    def make_widgets(self) -> list[ipywidgets.Widget]:
        self.name_field = self.field("Name", "Your name", self.name_entered, value=self.first_name)
        self.message = self.field("Message", "Type, then press Enter", self.entered)
        self.join_button = self.button("Join", lambda: self.start_task(self.enter()))
        self.leave_button = self.button("Leave", lambda: self.start_task(self.session.leave()))
        self.send_button = self.button("Send", self.send_clicked)
        self.earlier_button = self.button("Earlier messages", self.on_loop(self.session.ask_for_earlier))
        self.earlier_button.layout = Layout(display="none", width="12em", flex="0 0 auto", align_self="center")
        self.again_button = self.button("Send again", self.on_loop(self.session.say_again))
        self.discard_button = self.button("Remove", self.on_loop(self.session.discard))
        self.doubtful = ipywidgets.HBox([self.again_button, self.discard_button], layout=Layout(display="none"))
        self.status_html = ipywidgets.HTML()
        self.status_html.add_class("chatroom-status")
        top = ipywidgets.HBox([self.name_field, self.join_button, self.leave_button])
        bottom = ipywidgets.HBox([self.message, self.send_button])
        style = ipywidgets.HTML(f"<style>{CSS}</style>", layout=Layout(display="none"))
        return [style, top, self.status_html, self.make_log(), self.doubtful, bottom]

    def make_log(self) -> ipywidgets.Widget:
        self.log_html = ipywidgets.HTML(layout=Layout(margin="0 0 auto 0", width="100%"))
        layout = Layout(height="240px", overflow="auto", flex_flow="column-reverse", flex="0 0 auto")
        box = ipywidgets.VBox([self.log_html, self.earlier_button], layout=layout)
        box.add_class("chatroom-log")
        return box

    def field(self, label: str, hint: str, entered, **options) -> Field:
        fits, style = Layout(width="auto", flex="1 1 0", min_width="0"), {"description_width": "5em"}
        return Field(entered, description=label, placeholder=hint, layout=fits, style=style, **options)

    def button(self, words: str, clicked) -> ipywidgets.Button:
        button = ipywidgets.Button(description=words, layout=Layout(width="7.5em", flex="0 0 auto"))
        process_at_once(button)
        button.on_click(lambda _button: clicked())
        return button

    def changed(self) -> None:
        """Draw soon: at once after a pause, but not for every line of a flood."""
        if not self.drawing:
            loop = background_loop()
            self.drawing = loop.call_at(max(loop.time(), self.next_drawing), self.draw)

    def draw(self) -> None:
        self.drawing = None
        self.draw_now()
        self.next_drawing = background_loop().time() + max(DRAW_INTERVAL, len(self.log_html.value) / MAX_DRAWN)

    def draw_now(self) -> None:
        session = self.session
        away = session.state in ("left", "lost")
        self.status_html.value = f'<p role="status" class="{session.state}">{escape(self.status)}</p>'
        self.log_html.value = '<div role="log">{}</div>'.format(
            "".join(f'<p class="{line.kind}">{line.markup}</p>' for line in self.shown_lines())
        )
        self.draw_history_buttons()
        self.join_button.description = "Join again" if session.state == "lost" else "Join"
        self.join_button.disabled = self.replaced or not away
        self.leave_button.disabled = away
        self.send_button.disabled = self.replaced

    def draw_history_buttons(self) -> None:
        session = self.session
        has_history = any(line.seq is not None for line in session.lines)
        self.earlier_button.layout.display = "" if has_history else "none"
        self.earlier_button.disabled = session.wanted() is None or not session.can_send()
        self.doubtful.layout.display = "" if any(said.doubtful for said in session.unheard) else "none"
        self.again_button.disabled = not session.can_send()

    def shown_lines(self) -> list[Line]:
        """What was heard, and below it what we have said and not heard."""
        return [*with_gaps(self.session.lines, self.session.begin), *(said.line for said in self.session.unheard)]

    # ------------------------------------------------------------ events from the browser; on any thread

    def start_task(self, coroutine) -> None:
        """Start `coroutine` on the background loop. The log reports its errors."""
        future = asyncio.run_coroutine_threadsafe(self.attempt(coroutine), background_loop())
        self.work.add(future)
        future.add_done_callback(self.work.discard)

    async def attempt(self, coroutine) -> None:
        try:
            await coroutine
        except ValueError as error:  # a bad name
            self.session.trouble(f"Not done: {error}.")
        except Exception as error:
            self.session.trouble(f"Not done: {describe(error)}")

    def on_loop(self, act: Callable[[], None]) -> Callable[[], None]:
        """What calls `act` on the background loop, from any thread."""
        return lambda: background_loop().call_soon_threadsafe(act)

    def entered(self, text: str) -> None:
        if text not in self.sending:  # otherwise, Enter was pressed twice
            self.sending.add(text)
            self.start_task(self.say_typed(text))

    def name_entered(self, _name: str) -> None:
        self.start_task(self.enter())

    def send_clicked(self) -> None:
        # The field has lost the focus to the button, so usually its text has arrived.
        send = self.message.submit if self.message.value else self.message.enter
        background_loop().call_soon_threadsafe(send)

    # ------------------------------------------------------------ on the background loop

    async def start(self) -> None:
        """Join, after the panels of this room that were made earlier. Those that we replace leave first."""
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
        await self.started.wait()  # by then, all panels of the same cell exist
        for panel in [panel for panel in _panels if panel.url == self.url]:
            await panel.started.wait()
        await self.session.say(content)

    async def say_typed(self, text: str) -> None:
        """Send `text`. It stays in the field until the connection has accepted it."""
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
        """Leave, and remove the panel from the page."""
        if self.comm:
            self.start_task(self.retire())
        super().close()

    def _repr_mimebundle_(self, **options) -> dict:
        return bundle(super()._repr_mimebundle_(**options), self.transcript_html(), str(self))

    def transcript_html(self) -> str:
        """The log for a page without Python. (The two classes say that it contains no formulas.)"""
        name = f"<div {style('.chatroom-transcript .name')}>{escape(self.name)}</div>"
        lines = "".join(f"<div {LINE_STYLES[line.kind]}>{line.markup}</div>" for line in self.shown_lines())
        frame = style(".chatroom-log", ".chatroom-transcript")
        return f'<div class="tex2jax_ignore mathjax_ignore" {frame}>{name}{lines}</div>'

    def __str__(self):
        return "\n".join(
            [f"{self.name} at {self.session.url}: {self.state}", *(indented(line.plain) for line in self.shown_lines())]
        )

    def __repr__(self):
        return f"<ChatPanel {self.name} at {self.session.url}: {self.state}, {len(self.lines)} lines>"


def indented(line: str) -> str:
    """A line of the log for a terminal, which cannot imitate another line, nor do anything but stand there."""
    return "\n      ".join(printable(part) for part in f"  {line}".splitlines())


LINE = ".chatroom-log p, .chatroom-status p"
LINE_STYLES = {
    "other": style(LINE),
    **{kind: style(LINE, f".chatroom-log .{kind}") for kind in ("own", "unheard", "news", "trouble")},
}


def bundle(view: dict | None, page: str, text: str) -> dict:
    """What a notebook file stores: the widget, and what is shown where it cannot run."""
    return {**(view or {}), "text/html": page, "text/plain": text}


# ---------------------------------------------------------------- several panels


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
        page = f"<div {style('.chatroom-transcripts')}>{pages}</div>"
        return bundle(super()._repr_mimebundle_(**options), page, str(self))

    def __str__(self):
        return "\n".join(map(str, self))

    def __repr__(self):
        return "\n".join(map(repr, self))


def chat(target: "str | Server | list[str | Server]", *names: str) -> ChatPanels:
    """A panel for each of `names` in one room: a `Server`'s, or one at a `ws://` address; or a list of such, of servers
    with one history. They join in order.

    Raises ValueError if a name comes twice, or if there is none.
    """
    urls, names = checked_urls(target), [checked_name(name) for name in names]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"give one name or more, each once, as in chat(server, 'Alice', 'Bob'), not {names}")
    first = ChatPanel(urls, names[0], replaces=names)
    return ChatPanels([first, *(ChatPanel(urls, name) for name in names[1:])])
