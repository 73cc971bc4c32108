// A run, step by step: a slider over its moments, and for each of them the room's code with its tasks, the pool, buffers,
// outboxes and locks. trace/moments.py says what a moment holds.
"use strict";
const Steps = (() => {
  const { element } = Shown;
  const NOTABLE = new Set(["vanished", "removed", "overlap", "failed", "refused", "killed", "started", "blocked", "lost", "shut out", "collected", "told a gap"]);
  const PACE = 350; // ms from one step to the next, while it plays

  // A moment has only what differs from the one before.
  function whole(result) {
    let now = {};
    return result.moments.map(moment => {
      now = { ...now, ...moment };
      return { ...now, tasks: now.tasks.map(index => result.states[index]) };
    });
  }

  function view(result, place = 0) {
    const moments = whole(result);
    const slider = element("input", { type: "range", min: 0, max: moments.length - 1, className: "steps-slider" });
    slider.setAttribute("aria-label", "Step");
    const said = element("div", { className: "steps-said", ariaLive: "polite" });
    const listing = new Listing(result.code);
    const state = element("div", { className: "steps-state" });
    const step = (text, label, by) => {
      const made = element("button", { type: "button", textContent: text, title: label, onclick: () => { pause(); go(by()); } });
      made.setAttribute("aria-label", label);
      return made;
    };
    const last = moments.length - 1;
    const play = element("button", { type: "button", textContent: "▶ Play", onclick: () => timer ? pause() : start() });
    const jump = jumps(moments, at => { pause(); go(at); });
    let at = 0, timer = 0;

    function go(to) {
      at = Math.max(0, Math.min(last, to));
      slider.value = at;
      slider.setAttribute("aria-valuetext", `step ${at} of ${last}, ${moments[at].time.toFixed(3)} s`);
      frame.dataset.at = at;
      const before = moments[Math.max(0, at - 1)], now = moments[at];
      said.replaceChildren(...sentences(now, before, at, last));
      listing.show(now, before);
      state.replaceChildren(...panels(now, before));
    }

    function start() {
      if (at === last) go(0);
      play.textContent = "❚❚ Pause";
      timer = setInterval(() => at === last || !frame.isConnected ? pause() : go(at + 1), PACE);
    }

    function pause() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "▶ Play";
    }

    slider.addEventListener("input", () => { pause(); go(Number(slider.value)); });
    const frame = element("div", { className: "steps" },
      element("h2", {}, "Step by step"),
      element("div", { className: "steps-bar" },
        element("div", { className: "steps-buttons" },
          step("|◀", "First step", () => 0), step("◀", "One step back (left arrow key)", () => at - 1), play,
          step("▶", "One step forward (right arrow key)", () => at + 1), step("▶|", "Last step", () => last), jump),
        slider, said),
      element("div", { className: "steps-grid" }, listing.element, state));
    frame.addEventListener("keydown", event => {
      const keys = { ArrowLeft: () => at - 1, ArrowRight: () => at + 1, Home: () => 0, End: () => last };
      if (event.target.tagName === "SELECT" || !keys[event.key]) return;
      event.preventDefault();
      pause();
      go(keys[event.key]());
    });
    if (result.more) frame.append(element("p", { className: "try-note" }, `${result.more} later steps are left out.`));
    go(Number(place) || 0);
    return frame;
  }

  // Where something happens that one may want to see.
  function jumps(moments, go) {
    const found = moments.flatMap((moment, at) => moment.events.filter(each => NOTABLE.has(each.kind)).map(each => [at, each]));
    const select = element("select", {}, element("option", { value: "", textContent: "Jump to …" }),
      ...found.slice(0, 100).map(([at, { time, text }]) => element("option", { value: at, textContent: `${time.toFixed(3)} s: ${text}` })));
    select.setAttribute("aria-label", "Jump to an event");
    select.addEventListener("change", () => { if (select.value) go(Number(select.value)); select.value = ""; });
    return select;
  }

  // ------------------------------------------------------------ in words

  const list = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  const nameOf = task => `task ${task.number}`;
  const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

  function sentences(now, before, at, last) {
    const head = element("p", {}, element("strong", {}, `${now.time.toFixed(6)} s`), ` step ${at} of ${last}. `);
    const ended = before.tasks.filter(task => !now.tasks.some(other => other.number === task.number)).map(nameOf);
    const woken = now.tasks.filter(task => task.ready && !before.tasks.some(other => other.number === task.number && other.ready));
    if (now.ran !== null) head.append(`Task ${now.ran} runs${now.lines.length ? ` (the lines marked ›)` : ""}. `);
    const texts = now.events.map(each => `${each.text}.`);
    if (!texts.length && now.ran === null) texts.push(at ? "Data arrives." : "The room has started.");
    if (woken.length) texts.push(`What ${list(woken.map(nameOf))} waited for has come.`);
    if (ended.length && at) texts.push(`${list(ended)} ended.`);
    const notable = new Set(now.events.filter(each => NOTABLE.has(each.kind)).map(each => `${each.text}.`));
    return [head, element("ul", {}, ...texts.map(text => element("li", { className: notable.has(text) ? "notable" : "" }, capital(text))))];
  }

  // ------------------------------------------------------------ the code

  class Listing {
    constructor(lines) {
      this.rows = lines.map((text, index) => {
        const marks = element("span", { className: "steps-marks" });
        const row = element("li", { value: index + 1 }, element("code", {}, text || " "), marks);
        return { row, marks };
      });
      this.element = element("ol", { className: "steps-code", tabIndex: 0 }, ...this.rows.map(each => each.row));
      this.element.setAttribute("aria-label", "The room's code, and where its tasks stand");
    }

    show(now) {
      for (const { row, marks } of this.rows) {
        row.className = "";
        marks.replaceChildren();
      }
      for (const line of now.lines) if (this.rows[line - 1]) this.rows[line - 1].row.classList.add("ran");
      const standing = now.tasks.filter(task => task.calls.length);
      for (const task of standing) {
        const place = this.rows[task.calls.at(-1).line - 1];
        if (!place) continue;
        place.row.classList.add("stands");
        place.marks.append(element("span", { className: "steps-mark" }, `◀ ${nameOf(task)}${task.visitor ? `, ${task.visitor}` : ""}`));
      }
      const first = now.lines.at(-1) ?? standing.at(-1)?.calls.at(-1).line;
      const row = this.rows[first - 1]?.row;
      if (row) this.element.scrollTop = row.offsetTop - this.element.clientHeight / 2;
    }
  }

  // ------------------------------------------------------------ everything else

  const changed = (now, before, what) => JSON.stringify(now[what]) !== JSON.stringify(before[what]);

  function panel(title, isNew, ...children) {
    const head = element("h3", {}, title, ...(isNew ? [element("span", { className: "steps-new" }, " changed")] : []));
    return element("section", { className: isNew ? "changed" : "" }, head, ...children);
  }

  function panels(now, before) {
    const rooms = Object.entries(now.room ?? {});
    return [
      panel("In the pool", changed(now, before, "pool"), pool(now.pool, before.pool)),
      panel("Tasks", changed(now, before, "tasks"), ...tasks(now, before)),
      ...(Object.keys(now.locks).length ? [panel("Locks", changed(now, before, "locks"), ...locks(now))] : []),
      ...(Object.keys(now.queues).length ? [panel("Queues", changed(now, before, "queues"), ...queues(now.queues))] : []),
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
    return [...ended.map(describeEnded), ...sorted.map(task => describeTask(task, now, before))];
  }

  const whose = task => task.visitor ? ` for ${task.visitor}` : "";
  const where = task => task.calls.length ? `${task.calls.at(-1).function}, line ${task.calls.at(-1).line}` : "a bare send";

  function locals(task) {
    const found = Object.entries(task.calls.at(-1)?.locals ?? {}).map(([name, text]) => `${name} = ${text}`);
    return found.length ? [element("div", { className: "steps-line" }, element("code", {}, found.join(", ")))] : [];
  }

  const describeEnded = task => element("div", { className: "steps-task changed ran" },
    element("div", {}, element("strong", {}, `● Task ${task.number}`), `${whose(task)} ended in this step. Before it, at ${where(task)}:`), ...locals(task));

  function describeTask(task, now, before) {
    const earlier = before.tasks.find(other => other.number === task.number);
    const isNew = JSON.stringify(earlier) !== JSON.stringify(task);
    const state = task.ready ? "can go on" : `waits for ${task.waits_for}`;
    const needs = task.needs.length ? ` (which only ${list(task.needs.map(number => `task ${number}`))} can end)` : "";
    const head = element("div", {}, element("strong", {}, `${isNew ? "● " : ""}Task ${task.number}`), `${whose(task)}: ${where(task)}, ${state}${needs}`);
    const look = `steps-task${isNew ? " changed" : ""}${now.ran === task.number ? " ran" : ""}`;
    return element("div", { className: look }, head, ...locals(task));
  }

  const users = (now, held) => held.length
    ? list(held.map(({ task, how }) => `task ${task}${how === "hold" ? "" : ` (to ${how})`}`)) : "nobody";

  const locks = now => Object.entries(now.locks).map(([name, { holders, waiters }]) =>
    line(name, `held by ${users(now, holders)}; waited for by ${users(now, waiters)}`));

  const queues = found => Object.entries(found).map(([name, { length, limit, items }]) => {
    const size = `${length}${limit ? ` of at most ${limit}` : ""}`;
    return element("div", { className: "steps-line" }, element("code", {}, name), ` ${size}: `, ...items.map(chip), length > items.length ? " …" : "");
  });

  const chip = text => element("span", { className: "steps-chip" }, text);

  const buffers = found => Object.entries(found).map(([name, { waiting, limit, in_flight: flying, messages }]) => {
    const full = waiting > limit;
    const meter = element("meter", { min: 0, max: 4 * limit, high: limit, value: waiting });
    meter.setAttribute("aria-label", `Bytes that wait for ${name}`);
    const text = `${name}: ${kilobytes(waiting)} wait${full ? ", so a send waits too" : ""}; ${kilobytes(flying)} on the way `;
    return element("div", { className: `steps-line${full ? " full" : ""}` }, text, meter, " ", ...messages.slice(0, 12).map(chip), messages.length > 12 ? " …" : "");
  });

  const kilobytes = bytes => `${(bytes / 1000).toFixed(1)} kB`;

  return { view };
})();
