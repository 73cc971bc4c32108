// A run, step by step: a slider over its moments, and for each of them the room's code with its tasks, the pool, buffers,
// outboxes and locks. trace/moments.py says what a moment holds.
"use strict";
const Steps = (() => {
  const { element } = Shown;
  const NOTABLE = new Set(["vanished", "removed", "overlap", "failed", "refused", "killed", "started", "blocked", "lost", "shut out", "collected", "told a gap"]);
  const MOST_MARKS = 100;
  const PACE = 350; // ms from one step to the next, while it plays

  // A moment has only what differs from the one before. `gone`: who has been in the pool, and is not in it now.
  function whole(result) {
    let now = {};
    const been = new Set();
    return result.moments.map(moment => {
      now = { ...now, ...moment };
      now.pool.forEach(name => been.add(name));
      const gone = new Set([...been].filter(name => !now.pool.includes(name)));
      return { ...now, gone, tasks: now.tasks.map(index => result.states[index]) };
    });
  }

  function view(result, place) {
    const moments = whole(result);
    const last = moments.length - 1;
    const slider = element("input", { type: "range", min: 0, max: last, className: "steps-slider", ariaLabel: "Step" });
    const said = element("p", { className: "steps-said", ariaLive: "polite" });
    const listing = new Listing(result.code);
    const pool = element("div"), state = element("div", { className: "steps-state" });
    const step = (text, label, by) => element("button", { type: "button", textContent: text, title: label, ariaLabel: label,
      onclick: by });
    const play = element("button", { type: "button", onclick: () => toggle() });
    let at = 0, timer = 0;

    function show(to) {
      at = Math.max(0, Math.min(last, to));
      slider.value = at;
      slider.setAttribute("aria-valuetext", `step ${at} of ${last}, ${moments[at].time.toFixed(3)} s`);
      frame.dataset.at = at;
      const before = moments[Math.max(0, at - 1)], now = moments[at];
      said.replaceChildren(...sentences(now, before, at, last));
      listing.show(now);
      pool.replaceChildren(poolPanel(now, before));
      state.replaceChildren(...panels(now, before));
    }

    function go(to) {
      pause();
      show(to);
    }

    function toggle() {
      if (timer) return pause();
      if (at === last) show(0);
      play.textContent = "Pause";
      said.ariaLive = "off"; // nobody can listen that fast
      timer = setInterval(() => at === last || !frame.isConnected ? pause() : show(at + 1), PACE);
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      said.ariaLive = "polite";
    }

    const keys = { Home: () => go(0), ArrowLeft: () => go(at - 1), " ": toggle, ArrowRight: () => go(at + 1), End: () => go(last) };
    slider.addEventListener("input", () => go(Number(slider.value)));
    const frame = element("div", { className: "steps" },
      element("h2", {}, "Step by step"),
      ...(result.more ? [element("p", {}, `These are the first steps: ${result.more} later ones would be too much for a page.`)] : []),
      element("p", { className: "try-note steps-keys" }, "Drag the time, or press the left and right arrow keys; Home, End; and the space bar to play."),
      element("div", { className: "steps-bar" },
        element("div", { className: "steps-buttons" },
          step("|◀", "First step", keys.Home), step("◀", "One step back", keys.ArrowLeft), play,
          step("▶", "One step forward", keys.ArrowRight), step("▶|", "Last step", keys.End), jumps(moments, go)),
        slider, said),
      pool, element("div", { className: "steps-grid" }, listing.element, state));
    frame.addEventListener("keydown", event => {
      const isTaken = event.target.tagName === "SELECT" || (event.key === " " && event.target.tagName === "BUTTON");
      if (isTaken || event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    go(place);
    return frame;
  }

  function jumps(moments, go) {
    const all = [...marks(moments)], events = all.filter(each => each.isEvent);
    const shown = (all.length > MOST_MARKS ? events : all).slice(0, MOST_MARKS);
    const select = element("select", { ariaLabel: "Jump to an event" }, element("option", { value: "", textContent: "Jump to …" }),
      ...shown.map(({ at, text }) => element("option", { value: at, textContent: `${moments[at].time.toFixed(3)} s: ${text}` })));
    select.addEventListener("change", () => { if (select.value) go(Number(select.value)); select.value = ""; });
    return select;
  }

  // Where something happens that one may want to see: notable events, locks that are taken, buffers that have become full.
  function* marks(moments) {
    const isFull = buffer => buffer && buffer.waiting > buffer.limit;
    let before = moments[0];
    for (const [at, now] of moments.entries()) {
      for (const { kind, text } of now.events) if (NOTABLE.has(kind)) yield { at, text, isEvent: true };
      for (const [name, { holders }] of Object.entries(now.locks)) {
        const isNew = JSON.stringify(holders) !== JSON.stringify(before.locks[name]?.holders);
        if (isNew && holders.length) yield { at, text: `${name} is held by ${users(holders)}` };
      }
      for (const [name, buffer] of Object.entries(now.buffers)) {
        if (isFull(buffer) && !isFull(before.buffers[name])) yield { at, text: `what waits for ${name} fills the buffer` };
      }
      before = now;
    }
  }

  // ------------------------------------------------------------ in words

  const list = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  const nameOf = task => `task ${task.number}`;
  const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

  function sentences(now, before, at, last) {
    const ended = before.tasks.filter(task => !now.tasks.some(other => other.number === task.number)).map(nameOf);
    const woken = now.tasks.filter(task => task.ready && !before.tasks.some(other => other.number === task.number && other.ready));
    const told = inShort(now.events).map(({ kind, text }) => element(NOTABLE.has(kind) ? "strong" : "span", {}, ` ${capital(text)}.`));
    const texts = [
      ...(now.ran === null ? [] : [` Task ${now.ran} runs${now.lines.length ? ", the lines marked ›" : ""}.`]),
      ...told,
      ...(told.length || now.ran !== null ? [] : [at ? " Data arrives." : " The room has started."]),
      ...(woken.length ? [` What ${list(woken.map(nameOf))} waited for has come.`] : []),
      ...(ended.length && at ? [` ${capital(list(ended))} ended.`] : []),
    ];
    return [element("strong", {}, `${now.time.toFixed(6)} s`), `, step ${at} of ${last}.`, ...texts];
  }

  // The same message to several people is one sentence, and a send that returns at once none of its own.
  function inShort(events) {
    const sends = new Set(), told = [];
    for (const { kind, who, message, text } of events) {
      const last = told.at(-1), send = JSON.stringify([who, message]);
      if (kind === "sent" && sends.has(send)) continue;
      if (kind === "sending") sends.add(send);
      const base = kind === "sending" && text.endsWith(who) ? text.slice(0, -who.length) : null;
      if (base !== null && last?.base === base) last.names.push(who);
      else told.push({ kind, text, base, names: [who] });
    }
    return told.map(({ kind, text, base, names }) => ({ kind, text: names.length > 1 ? base + list(names) : text }));
  }

  // ------------------------------------------------------------ the code

  class Listing {
    constructor(lines) {
      this.rows = lines.map((text, index) => {
        const marks = element("span");
        const code = element("code", {}, text || " ", marks);
        code.style.setProperty("--indent", `${text.search(/\S|$/) + 2}ch`); // of what is wrapped
        return { row: element("li", { value: index + 1 }, code), marks };
      });
      const label = "The room's code, and where its tasks stand";
      this.element = element("ol", { className: "steps-code", tabIndex: 0, ariaLabel: label }, ...this.rows.map(each => each.row));
    }

    show(now) {
      for (const { row, marks } of this.rows) {
        row.className = "";
        marks.replaceChildren();
      }
      for (const line of now.lines) this.rows[line - 1]?.row.classList.add("ran");
      const standing = now.tasks.filter(task => task.calls.length);
      for (const task of standing) this.mark(task);
      const last = now.lines.at(-1) ?? standing.at(-1)?.calls.at(-1).line;
      if (this.rows[last - 1]) this.scrollTo(this.rows[last - 1].row);
    }

    mark(task) {
      const place = this.rows[task.calls.at(-1).line - 1];
      if (!place) return;
      place.row.classList.add("stands");
      place.marks.append(" ", element("span", { className: "steps-mark" }, `◀ ${nameOf(task)}${task.visitor ? `, ${task.visitor}` : ""}`));
    }

    // Only if one cannot see it, so that the code stands still while one steps.
    scrollTo(row) {
      const view = this.element, top = row.offsetTop - view.scrollTop;
      if (top < 0 || top + row.offsetHeight > view.clientHeight) view.scrollTop = row.offsetTop - view.clientHeight / 2;
    }
  }

  // ------------------------------------------------------------ everything else

  const changed = (now, before, what) => JSON.stringify(now[what]) !== JSON.stringify(before[what]);

  function panel(title, isNew, ...children) {
    const head = element("h3", {}, title, ...(isNew ? [element("span", { className: "steps-new" }, " changed")] : []));
    return element("section", { className: isNew ? "changed" : "" }, head, ...children);
  }

  const poolPanel = (now, before) => panel("In the pool", changed(now, before, "pool"), pool(now.pool, before.pool));

  function panels(now, before) {
    const rooms = Object.entries(now.room ?? {});
    return [
      ...(Object.keys(now.locks).length ? [panel("Locks", changed(now, before, "locks"), ...locks(now))] : []),
      ...(Object.keys(now.queues).length ? [panel("Queues", changed(now, before, "queues"), ...queues(now.queues))] : []),
      panel("Tasks", changed(now, before, "tasks"), ...tasks(now, before)),
      panel("On the way to people", changed(now, before, "buffers"), ...buffers(now.buffers)),
      ...(rooms.length ? [panel("The room's attributes", changed(now, before, "room"), ...rooms.map(([name, text]) => line(name, text)))] : []),
    ];
  }

  const line = (name, text) => element("div", { className: "steps-line" }, element("code", {}, name), ` = ${text}`);

  function pool(names, before) {
    const here = names.map((name, index) => element("li", {}, element("span", { className: "steps-index" }, String(index)), ` ${name}`));
    const gone = before.map((name, index) => [name, index]).filter(([name]) => !names.includes(name)).map(([name, index]) =>
      element("li", { className: "gone" }, element("s", {}, element("span", { className: "steps-index" }, String(index)), ` ${name}`), " removed"));
    return element("ul", { className: "steps-pool" }, ...(names.length + gone.length ? [...here, ...gone] : [element("li", {}, "nobody")]));
  }

  // Those that run, have ended or wait for something of the room's first; then those that only wait for somebody to speak.
  function tasks(now, before) {
    const ended = before.tasks.filter(task => !now.tasks.some(other => other.number === task.number));
    const idle = task => task.waits_for.startsWith("the next message") && !task.ready && task.number !== now.ran;
    const sorted = [...now.tasks.filter(task => !idle(task)), ...now.tasks.filter(idle)];
    return [...ended.map(task => describeEnded(task, before.gone)), ...sorted.map(task => describeTask(task, now, before))];
  }

  const whose = task => task.visitor ? ` for ${task.visitor}` : "";
  const where = task => task.calls.length ? `${task.calls.at(-1).function}, line ${task.calls.at(-1).line}` : "a bare send";

  // A connection of somebody who has been removed is said to be one: the task goes by what has been.
  function locals(task, gone) {
    const found = Object.entries(task.calls.at(-1)?.locals ?? {}).flatMap(([name, text], index) =>
      [index ? ", " : "", element("code", {}, `${name} = ${text}`), gone.has(text) ? " (not in the pool)" : ""]);
    return found.length ? [element("div", { className: "steps-line" }, ...found)] : [];
  }

  const describeEnded = (task, gone) => element("div", { className: "steps-task changed ran" },
    element("div", {}, element("strong", {}, `● Task ${task.number}`), `${whose(task)} ended in this step. Before it, at ${where(task)}:`), ...locals(task, gone));

  function describeTask(task, now, before) {
    const earlier = before.tasks.find(other => other.number === task.number);
    const isNew = JSON.stringify(earlier) !== JSON.stringify(task);
    const state = task.ready ? "can go on" : `waits for ${task.waits_for}`;
    const needs = task.needs.length ? ` (which only ${list(task.needs.map(number => `task ${number}`))} can end)` : "";
    const head = element("div", {}, element("strong", {}, `${isNew ? "● " : ""}Task ${task.number}`), `${whose(task)}: ${where(task)}, ${state}${needs}`);
    const look = `steps-task${isNew ? " changed" : ""}${now.ran === task.number ? " ran" : ""}`;
    return element("div", { className: look }, head, ...locals(task, now.gone));
  }

  const users = held => held.length
    ? list(held.map(({ task, how }) => `task ${task}${how === "hold" ? "" : ` (to ${how})`}`)) : "nobody";

  const locks = now => Object.entries(now.locks).map(([name, { holders, waiters }]) =>
    element("div", { className: "steps-line" }, element("code", {}, name), `: held by ${users(holders)}; waited for by ${users(waiters)}`));

  const queues = found => Object.entries(found).map(([name, { length, limit, items }]) => {
    const size = `${length}${limit ? ` of at most ${limit}` : ""}`;
    return element("div", { className: "steps-line" }, element("code", {}, name), ` ${size}: `, ...items.map(chip), length > items.length ? " …" : "");
  });

  const chip = text => element("span", { className: "steps-chip" }, text);

  const buffers = found => Object.entries(found).map(([name, { waiting, limit, in_flight: flying, messages }]) => {
    const isFull = waiting > limit;
    const row = element("div", { className: `steps-line${isFull ? " full" : ""}` }, element("strong", {}, name), ": ");
    if (waiting + flying === 0) return row.append("nothing"), row;
    const meter = element("meter", { min: 0, max: 4 * limit, high: limit, optimum: 0, value: waiting, ariaLabel: `Bytes that wait for ${name}` });
    row.append(`${kilobytes(waiting)} wait${isFull ? ", so a send waits too" : ""} `, meter, `, ${kilobytes(flying)} in the network: `,
      ...messages.slice(0, 12).map(chip), messages.length > 12 ? " …" : "");
    return row;
  });

  const kilobytes = bytes => `${(bytes / 1000).toFixed(1)} kB`;

  return { view };
})();
