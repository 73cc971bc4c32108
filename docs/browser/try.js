// The page "Try it": a room, a scenario and a seed, tried in Python; and a link that carries all three.
"use strict";
(() => {
  const root = document.getElementById("try");
  const choices = document.getElementById("try-choices");
  if (!root || !choices) return;
  const { element, output, figure } = Shown;
  const { starts, scenarios } = JSON.parse(choices.textContent);
  const FIRST = "v1.1";
  const LINKED = "the room of the link";
  const SEEDS = 5;
  const STILL = "Still running. A room that never lets others run never ends: then press Stop.";
  const ENDINGS = {
    "quiescent": "until nothing can happen any more",
    "time is up": "until the time is up",
    "livelocked": "from when on it is busy, and gets nowhere",
  };

  const labelled = (text, control) => element("label", { className: "try-field" }, element("span", {}, text), control);
  const button = (text, onclick, title = "") => element("button", { type: "button", textContent: text, onclick, title });
  const options = named => named.map(({ name }) => element("option", { value: name, textContent: name }));
  const groups = [...new Set(scenarios.map(each => each.group))];

  const start = element("select", {}, ...options(starts));
  const scenario = element("select", {}, ...groups.map(label =>
    element("optgroup", { label }, ...options(scenarios.filter(each => each.group === label)))));
  const about = element("p", { className: "try-note" });
  const code = element("textarea", { className: "try-code", rows: 20, spellcheck: false, wrap: "off" });
  const own = element("textarea", { className: "try-code", rows: 8, spellcheck: false, wrap: "off" });
  const ownField = labelled("Your own scenario", own);
  const seed = element("input", { type: "range", min: 0, max: 199, value: 0 });
  const seedNumber = element("output", { textContent: "0" });
  const runButton = button("Run", () => run(), "Ctrl+Enter in the code");
  const checkButton = button(`Check with ${SEEDS} seeds`, () => check(), "Every guarantee, in every scenario");
  const stopButton = button("Stop", () => Python.stop());
  const linkButton = button("Copy link", () => copyLink(), "A link that carries this room, scenario and seed");
  const undoButton = button("Undo changes", () => undo());
  const status = element("p", { className: "try-status", role: "status" });
  const outcome = element("p", { className: "try-outcome", role: "status" });
  const answer = element("div", { className: "try-answer" });
  code.setAttribute("aria-label", "The code of the room");
  stopButton.hidden = true;

  const values = () => ({ code: code.value, scenario: scenario.value, seed: Number(seed.value), own_scenario: own.value });
  const isOwn = () => scenarios.find(each => each.name === scenario.value).code !== undefined;

  const drafts = new Map(); // start -> what the reader has made of it

  function startFrom(name) {
    start.value = name;
    code.value = drafts.get(name) ?? starts.find(each => each.name === name).code;
    runIfRunBefore();
  }

  // As if it were typed, so that the browser can undo this, too.
  function undo() {
    code.focus();
    code.select();
    document.execCommand("insertText", false, starts.find(each => each.name === start.value).code);
    drafts.delete(start.value);
    runIfRunBefore();
  }

  function choose({ scenario: name, seed: number = 0, own_scenario: text = own.value }) {
    scenario.value = name;
    own.value = text;
    seed.value = number;
    seedNumber.textContent = seed.value;
    describe();
  }

  function describe() {
    const chosen = scenarios.find(each => each.name === scenario.value);
    about.textContent = chosen.text;
    ownField.hidden = !isOwn();
    if (isOwn() && !own.value) own.value = chosen.code;
  }

  // ------------------------------------------------------------ asking Python

  let hasRun = false, wanted = null, busy = false, edited = 0;
  const strange = new Set(); // codes that came with a link, and that the reader has not run yet

  function run() {
    hasRun = true;
    strange.delete(code.value);
    if (isOwn()) strange.delete(own.value);
    next("try_room", values(), show);
  }

  function runIfRunBefore() {
    if (hasRun && !strange.has(code.value) && !(isOwn() && strange.has(own.value))) run();
  }

  function check() {
    const { code, own_scenario } = values();
    next("check_room", { code, own_scenario, seeds: SEEDS, scenario: isOwn() ? scenario.value : null }, showCard);
  }

  // What was asked for last is what is answered: while one question is under way, only the newest of the others waits.
  async function next(question, asked, answered) {
    wanted = { question, asked, answered };
    if (busy) return;
    while (wanted) {
      const { question, asked, answered } = wanted;
      wanted = null;
      await working(async () => {
        const result = await Python.ask(question, asked);
        if (!wanted) answered(result);
      });
    }
  }

  async function working(action) {
    busy = true;
    stopButton.hidden = false;
    status.textContent = Python.isRunning ? "Running …" : `Loading Python (${Python.size}) …`;
    const slow = setTimeout(() => { if (Python.isRunning) status.textContent = STILL; }, 20_000);
    try {
      await action();
      status.textContent = "";
    } catch (error) {
      wanted = null;
      status.textContent = error instanceof Python.Stopped ? `${error.message} The next run starts Python anew.` : error.message;
    } finally {
      clearTimeout(slow);
      busy = false;
      stopButton.hidden = true;
      relabel();
    }
  }

  const relabel = () => { runButton.textContent = Python.isRunning ? "Run" : `Run (loads Python, ${Python.size})`; };

  // ------------------------------------------------------------ what comes of it

  let stepWanted = null; // of a link
  const stepShown = () => Number(answer.querySelector(".steps")?.dataset.at ?? 0);

  function present(sentence, ...parts) {
    outcome.classList.remove("try-mistake");
    outcome.textContent = sentence;
    answer.replaceChildren(...parts);
  }

  function showMistake(text) {
    present(`✗ ${text}`, ...lineButton(text));
    outcome.classList.add("try-mistake");
  }

  function showCard({ error, html, broken }) {
    if (error) return showMistake(error);
    const found = Object.entries(broken);
    const runs = found.map(([guarantee, { scenario: name, seed: number, evidence }]) => element("li", {},
      element("span", {}, `✗ ${guarantee}, in “${name}” with seed ${number}: ${evidence}.`),
      button("Step through it", () => { choose({ scenario: name, seed: number }); run(); })));
    present(found.length ? `${found.length} guarantee${found.length > 1 ? "s" : ""} can break.` : "No guarantee is broken.",
      element("ul", { className: "try-failures" }, ...runs), output(["html", html]));
  }

  function show(result) {
    if (result.error) return showMistake(result.error);
    const steps = Steps.view(result, stepWanted ?? stepShown());
    stepWanted = null;
    const isFirst = !answer.firstChild;
    present(sentence(result), people(result), failures(result), ...prints(result), steps, pictures(result), verdicts(result));
    if (isFirst) outcome.scrollIntoView({ block: "start" });
  }

  const brokenOnes = verdicts => verdicts.filter(each => each.kept === false);

  function sentence({ evicted, verdicts, errors }) {
    const out = Object.entries(evicted).map(([name, time]) => `${name} is evicted at ${time.toFixed(3)} s`);
    const broken = brokenOnes(verdicts).length;
    return [
      out.join(", and ") || "Nobody is evicted",
      broken ? `${broken} guarantee${broken > 1 ? "s are" : " is"} broken` : "no guarantee is broken",
      ...(errors.length ? ["the room raises an error"] : []),
    ].join("; ") + ".";
  }

  function people({ seed, duration, ending, people, said, heard, evicted }) {
    const rows = people.map(({ name, does }) => element("tr", {},
      element("th", {}, name), element("td", {}, `${does}${Object.hasOwn(evicted, name) ? "; is evicted" : ""}`),
      element("td", {}, `hears ${heard[name].length} of ${said}`)));
    const run = `Seed ${seed}, ${duration.toFixed(1)} s of virtual time, ${ENDINGS[ending] ?? ending}.`;
    return element("div", { className: "try-people" }, element("p", {}, run), element("table", {}, element("tbody", {}, ...rows)));
  }

  function failures({ verdicts, errors }) {
    const broken = brokenOnes(verdicts).map(({ guarantee, evidence }) => element("li", {}, `✗ ${guarantee} is broken: ${evidence}.`));
    const raised = errors.map(each => element("li", {}, element("span", {}, `✗ The room raises an error: ${each}`), ...lineButton(each)));
    return element("ul", { className: "try-failures" }, ...broken, ...raised);
  }

  const prints = ({ printed }) => printed
    ? [element("details", { open: true }, element("summary", {}, "What the room prints"), output(["text", printed]))] : [];

  // To the line that a mistake names.
  function lineButton(text) {
    const found = /^(the scenario, )?line (\d+):/.exec(text);
    return found ? [button(`Show line ${found[2]}`, () => selectLine(found[1] ? own : code, Number(found[2])))] : [];
  }

  function selectLine(editor, number) {
    const lines = editor.value.split("\n");
    const from = lines.slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
    editor.focus();
    editor.setSelectionRange(from, from + (lines[number - 1] ?? "").length);
    editor.scrollTop = (number - 1) * parseFloat(getComputedStyle(editor).lineHeight) - editor.clientHeight / 2;
  }

  function pictures({ figures }) {
    const shown = Object.values(figures).filter(Boolean).map(figure);
    return element("details", { open: true, className: "try-figures" }, element("summary", {}, "The whole run in pictures"), ...shown);
  }

  function verdicts({ verdicts }) {
    const mark = kept => kept === null ? "· cannot tell" : kept ? "✓ kept" : "✗ broken";
    const rows = verdicts.map(({ guarantee, kept, evidence, promise }) =>
      element("tr", {}, element("th", { title: promise }, guarantee), element("td", {}, mark(kept)), element("td", {}, evidence)));
    const table = element("table", {}, element("tbody", {}, ...rows));
    return element("details", {}, element("summary", {}, "What this run says about each guarantee"), table);
  }

  // ------------------------------------------------------------ the link

  async function copyLink() {
    try {
      history.replaceState(null, "", `#${await Link.packed({ ...values(), step: stepShown() })}`);
    } catch (error) {
      status.textContent = error.message;
      return;
    }
    const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
    status.textContent = await copied.then(() => "The link is copied.", () => "The link is in the address bar.");
  }

  // What comes by a link is somebody else's: it is shown, and runs when the reader says so.
  async function take(text) {
    try {
      const given = await Link.unpacked(text);
      if (typeof given?.code !== "string" || !scenarios.some(each => each.name === given.scenario)) {
        throw new Error("The link is of another version of this book: there is no room in it that can be run here.");
      }
      offer(given.code);
      choose(given);
      stepWanted = Number(given.step) || 0;
      for (const text of [given.code, code.value, own.value]) strange.add(text);
      hasRun = false;
      present("");
      status.textContent = "This room came with the link. Read it, and press Run: it runs in your browser, without a network.";
    } catch (error) {
      status.textContent = error.message;
    }
  }

  // As a start of its own, so that it can be left and come back to.
  function offer(room) {
    let linked = starts.find(each => each.name === LINKED);
    if (!linked) {
      linked = { name: LINKED };
      starts.push(linked);
      start.append(...options([linked]));
    }
    if (linked.code !== room) drafts.delete(LINKED);
    linked.code = room;
    start.value = LINKED;
    code.value = drafts.get(LINKED) ?? room;
  }

  // ------------------------------------------------------------ what stays when one comes back to the page

  const KEPT = "chatroom: try it";

  function keep() {
    const linked = starts.find(each => each.name === LINKED)?.code;
    const kept = { ...values(), start: start.value, drafts: [...drafts], linked };
    try { sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch { /* there is no space for it, or no leave */ }
  }

  // Some of it may have come with a link, so Run is to be pressed for all of it.
  function recall() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEPT));
      if (!kept) return;
      if (kept.linked) offer(kept.linked);
      const isKnown = starts.some(each => each.name === kept.start) && scenarios.some(each => each.name === kept.scenario);
      if (!isKnown) return;
      for (const [name, text] of kept.drafts) drafts.set(name, text);
      for (const text of [kept.linked, kept.own_scenario, ...drafts.values()]) strange.add(text);
      startFrom(kept.start);
      choose(kept);
    } catch { /* the same */ }
  }

  // ------------------------------------------------------------ the page

  start.addEventListener("change", () => startFrom(start.value));
  scenario.addEventListener("change", () => { describe(); runIfRunBefore(); });
  seed.addEventListener("input", () => {
    seedNumber.textContent = seed.value;
    clearTimeout(edited);
    edited = setTimeout(runIfRunBefore, 150);
  });
  code.addEventListener("input", () => drafts.set(start.value, code.value));
  for (const editor of [code, own]) {
    editor.addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      if (event.ctrlKey || event.metaKey) { event.preventDefault(); run(); } else if (!event.shiftKey) Editing.newLine(event);
    });
  }
  document.addEventListener("python-ended", relabel);

  root.replaceChildren(
    element("p", { className: "try-hint" }, "Press Run, and drag the time: each step shows where everything stands. Then move the seed, or change the code, and run it again."),
    element("div", { className: "try-fields" }, labelled("Start from", start), labelled("What happens", scenario),
      labelled("Seed", element("span", { className: "try-seed" }, seed, seedNumber))),
    about, ownField, code,
    element("div", { className: "try-buttons" }, runButton, checkButton, stopButton, undoButton, linkButton),
    status, outcome, answer);
  relabel();
  startFrom(FIRST);
  describe();
  recall();
  for (const leaving of ["pagehide", "visibilitychange"]) window.addEventListener(leaving, keep);
  const follow = () => { if (location.hash.length > 1) take(location.hash.slice(1)); };
  window.addEventListener("hashchange", follow);
  follow();
})();
