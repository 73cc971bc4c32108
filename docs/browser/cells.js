// Each cell of a chapter can be edited and run where it stands.
"use strict";
(() => {
  const described = document.getElementById("cells-of-this-page");
  if (!described) return;
  const { element, output } = Shown;
  const given = JSON.parse(described.textContent); // [{code, needs: "" | "live" | "kernel"}, ...]
  const places = [...document.querySelectorAll("div.cell > .cell_input")];
  if (places.length !== given.length) return console.error("The cells are not those of the chapter.");

  const cells = given.map((cell, index) => ({ ...cell, index, pre: places[index].querySelector("pre"), place: places[index] }));
  let running = Promise.resolve(); // one after the other
  let ended = 0; // how often Python has been ended: what was to run before does not run afterwards

  const codeOf = cell => cell.pre.innerText.replace(/\u00a0/g, " ").replace(/\n$/, "");

  const NOTES = {
    live: "live() opens sockets, which a browser has not: here it is simulated, with seed 0, so numbers differ.",
    kernel: "This cell opens sockets, starts processes or threads, or times a disk, which a browser cannot: it needs a kernel. Its output is the book's.",
  };

  function prepare(cell) {
    cell.bar = element("div", { className: "run-bar" });
    cell.status = element("span", { className: "run-status", role: "status" });
    cell.place.append(cell.bar);
    if (cell.needs === "kernel") {
      cell.bar.append(element("span", { className: "run-note" }, NOTES.kernel));
      return;
    }
    const button = (text, action, title) => element("button", { type: "button", textContent: text, onclick: action, title });
    cell.run = button("Run", () => run(cell), "Run this cell, and those above that it needs (Ctrl+Enter in the code)");
    cell.above = button("Run all above", () => runAbove(cell), "Run all cells above this one, in order");
    cell.stop = button("Stop", () => Python.stop(), "End Python: names are gone, and the next run starts it anew");
    cell.back = button("Undo changes", () => restore(cell), "Show the book's code and output again");
    cell.stop.hidden = cell.back.hidden = true;
    cell.bar.append(cell.run, cell.above, cell.stop, cell.back, cell.status);
    cell.markup = cell.pre.innerHTML;
    Object.assign(cell.pre, { contentEditable: "plaintext-only", spellcheck: false, role: "textbox", tabIndex: 0 });
    cell.pre.setAttribute("aria-multiline", "true");
    cell.pre.setAttribute("aria-label", `The code of cell ${cell.index + 1}, which you can change`);
    cell.pre.addEventListener("input", () => { cell.back.hidden = false; });
    cell.pre.addEventListener("keydown", event => {
      if (event.key === "Enter" && (event.ctrlKey || event.shiftKey || event.metaKey)) {
        event.preventDefault();
        run(cell);
      } else if (event.key === "Enter") {
        Editing.newLine(event);
      }
    });
  }

  function restore(cell) {
    cell.pre.innerHTML = cell.markup;
    cell.shown?.remove();
    cell.shown = null;
    cell.place.parentElement.classList.remove("has-run");
    cell.back.hidden = true;
    cell.status.textContent = "";
  }

  function queue(action) {
    const then = ended;
    return running = running.then(() => then === ended ? action() : null);
  }

  const run = cell => queue(async () => {
    busy(cell);
    try {
      const wanted = await Python.ask("needed", { codes: cells.map(codeOf), index: cell.index });
      const impossible = wanted.find(index => cells[index].needs === "kernel");
      if (impossible !== undefined) {
        cell.status.textContent = `This cell uses what cell ${impossible + 1} makes, which needs a kernel.`;
        return;
      }
      for (const index of wanted.slice(0, -1)) if (!await runOne(cells[index], cell)) return;
      await runOne(cell, cell);
    } catch (error) {
      failed(cell, error);
    } finally {
      rest(cell);
    }
  });

  const runAbove = cell => queue(async () => {
    busy(cell);
    try {
      let failures = 0;
      for (const other of cells.slice(0, cell.index)) if (other.needs !== "kernel") failures += !await runOne(other, cell);
      cell.status.textContent = `The cells above have run${failures ? `, and ${failures} of them failed` : ""}.`;
    } catch (error) {
      failed(cell, error);
    } finally {
      rest(cell);
    }
  });

  // Run a cell, because `asking` was asked for. Returns whether it came to its end without an error.
  async function runOne(cell, asking) {
    const since = performance.now();
    const tell = () => {
      const seconds = Math.round((performance.now() - since) / 1000);
      asking.status.textContent = `Cell ${cell.index + 1} runs${seconds > 1 ? ` (${seconds} s)` : ""} …`;
    };
    tell();
    const clock = setInterval(tell, 1000);
    try {
      const outputs = await Python.ask("run", { index: cell.index, code: codeOf(cell) });
      show(cell, outputs);
      const error = outputs.some(([kind]) => kind === "error");
      asking.status.textContent = error && cell !== asking ? `Cell ${cell.index + 1}, which this one needs, has failed.` : "";
      return !error;
    } finally {
      clearInterval(clock);
    }
  }

  function show(cell, outputs) {
    cell.shown?.remove();
    const label = element("p", { className: "run-note" }, cell.needs === "live" ? `Run here. ${NOTES.live}` : "Run here");
    cell.shown = element("div", { className: "cell_output run-output" }, label, ...outputs.map(output));
    cell.place.after(cell.shown);
    cell.place.parentElement.classList.add("has-run"); // which hides the book's output
    cell.back.hidden = false;
  }

  function busy(cell) {
    cell.status.textContent = Python.isRunning ? "" : `Loading Python (${Python.size}) …`;
    cell.run.disabled = cell.above.disabled = true;
    cell.stop.hidden = false;
  }

  function rest(cell) {
    cell.run.disabled = cell.above.disabled = false;
    cell.stop.hidden = true;
    relabel();
  }

  function failed(cell, error) {
    cell.status.textContent = error instanceof Python.Stopped
      ? `${error.message} All names are gone; the next run starts Python anew.` : error.message;
  }

  // The first press loads Python, so each button says how much that is until it is there.
  function relabel() {
    for (const { run } of cells) if (run) run.textContent = Python.isRunning ? "Run" : `Run (loads Python, ${Python.size})`;
  }

  document.addEventListener("python-ended", () => { ended += 1; relabel(); });
  cells.forEach(prepare);
  relabel();
})();
