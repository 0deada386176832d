/* The grid rows × columns, the slider over a run's events, and the facts beside them.
 *
 * `View` owns the page's part below #replay. It asks `Replay` for the state at one position and
 * draws it; a cell's element is touched only if its content has changed. Of a table with many
 * rows a window is in the page, and it follows the events.
 *
 * The fragment of the address is the view: #event=12&cell=c1r3 shows event 12 with that cell's
 * history.
 */

const SYMBOL = {
  pending: "·", running: "▸", backoff: "↻", failed: "✗", complete: "✓", claimed: "◆",
  skipped: "–", dropped: "×", lost: "○", absent: "",
};
const MEANING = {
  pending: "not started", running: "in flight", backoff: "failed, to be tried again",
  failed: "failed for good", complete: "has its value", claimed: "held by the claim resumed from",
  skipped: "resolved without a value", dropped: "its row is dropped", lost: "gone with the crash",
};
// What else the picture uses, by the class of its sample.
const KEY = [
  ["strip-load", "above the slider: calls in flight"],
  ["strip-done", "cells resolved"],
  ["strip-crash", "crash"],
  ["strip-resume", "resume"],
  ["strip-claim", "claim durable"],
  ["strip-drop", "drop"],
  ["durable", "bar at the left: durable"],
  ["claim", "line below: claimed up to here"],
  ["being-written", "dashed line: claim being written"],
];
const NOTABLE = new Set([
  "crash", "resume", "stop", "stop_requested", "end", "drop", "checkpoint_durable",
  "checkpoint_failed",
]);
const NOW = 1, BAD = 2, CLAIM_END = 4, PENDING_END = 8, SELECTED = 16;
const WINDOW_CELLS = 12000; // in the page at once
const ROOMY_COLUMNS = 8; // up to here a cell shows its state as a word, too
const LISTED_BEFORE = 6, LISTED_AFTER = 8;

/* An element: make("button", {class: "x", onclick: f}, "text", other). */
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function drawing(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

class View {
  constructor(data, root) {
    this.data = data;
    this.replay = new Replay(data);
    this.width = data.columns.length;
    this.roomy = this.width <= ROOMY_COLUMNS;
    this.windowRows = Math.max(20, Math.floor(WINDOW_CELLS / this.width));
    this.first = 0; // first row of the window
    this.selected = null; // {column, row, node}
    this.timer = null;
    this.violation = this.positionOf(data.violation);
    this.survey();
    root.append(this.makeControls(), this.makeStage());
    this.makeTable();
    this.listen();
    if (!this.follow()) this.show(this.violation || this.replay.length);
  }

  // ---- positions and event numbers, which are the same in a trace that is numbered well

  numberOf(position) {
    return this.data.seq ? this.data.seq[position - 1] : position;
  }

  positionOf(number) {
    if (!Number.isInteger(number)) return 0;
    if (this.data.seq) return this.data.seq.indexOf(number) + 1;
    return number >= 0 && number <= this.data.events.length ? number : 0;
  }

  // One pass over all events: calls in flight, resolved cells, and events worth a mark.
  survey() {
    const { replay } = this;
    this.notable = [];
    this.load = new Uint32Array(replay.length + 1);
    this.done = new Uint32Array(replay.length + 1);
    for (let position = 1; position <= replay.length; position++) {
      replay.step();
      this.load[position] = replay.calls.length;
      this.done[position] = replay.resolved;
      const kind = this.data.kinds[this.data.events[position - 1][0]];
      if (NOTABLE.has(kind) || position === this.violation) this.notable.push({ position, kind });
    }
  }

  // ---- the page

  makeControls() {
    const length = this.replay.length;
    const button = (text, label, action, extra = {}) =>
      make("button", {
        type: "button", "aria-label": label, title: label, onclick: action, ...extra,
      }, text);
    this.playButton = button("play", "play (space)", () => this.play());
    this.speed = make("select", { "aria-label": "events per second" },
      ...[[2, "2/s"], [8, "8/s"], [30, "30/s"], [300, "300/s"]].map(([rate, text]) =>
        make("option", { value: rate, selected: rate === 8 }, text)));
    this.slider = make("input", {
      type: "range", id: "slider", min: 0, max: length, step: 1, value: 0,
      "aria-label": "event number", oninput: () => this.show(+this.slider.value),
    });
    this.line = make("p", { id: "event", class: "event", "aria-live": "polite" });
    const jumps = [
      button("⇤ first", "before the first event (home)", () => this.show(0)),
      button("‹ prev", "one event back (left arrow)", () => this.move(-1)),
      this.playButton,
      button("next ›", "one event on (right arrow)", () => this.move(1)),
      button("last ⇥", "after the last event (end)", () => this.show(length)),
      button("‹ mark", "the mark before ([)", () => this.moveToMark(-1)),
      button("mark ›", "the next mark (])", () => this.moveToMark(1)),
    ];
    if (this.violation) {
      jumps.push(button("✗ violation", "the event that broke the clause (v)",
        () => this.show(this.violation), { class: "danger", id: "to-violation" }));
    }
    return make("div", { class: "controls", role: "group", "aria-label": "time" },
      make("div", { class: "buttons" }, ...jumps, this.speed,
        make("span", { class: "keys" }, "keys: ← → event, shift: ten, [ ] mark, space, v")),
      make("div", { class: "scrubber" }, this.makeStrip(), this.slider),
      this.line);
  }

  // Behind the slider: calls in flight as an area, resolved cells as a line, marks as ticks.
  makeStrip() {
    const length = Math.max(1, this.replay.length);
    const buckets = Math.min(length, 800);
    const most = Math.max(1, this.load.reduce((a, b) => Math.max(a, b), 0));
    const cells = Math.max(1, this.width * this.replay.height);
    let area = "M0 40", path = "M0 39";
    for (let bucket = 0; bucket < buckets; bucket++) {
      const from = Math.floor((bucket * length) / buckets) + 1;
      const to = Math.floor(((bucket + 1) * length) / buckets);
      let peak = 0;
      for (let at = from; at <= to && at < this.load.length; at++) {
        peak = Math.max(peak, this.load[at]);
      }
      const x = (to / length) * 1000;
      const y = 39 - ((this.done[Math.min(to, this.done.length - 1)] || 0) / cells) * 37;
      area += `V${40 - (peak / most) * 34}H${x.toFixed(1)}`;
      path += `H${x.toFixed(1)}V${y.toFixed(1)}`;
    }
    const ticks = thin(this.notable, 300, this.violation).map(({ position, kind }) => {
      const x = ((position / length) * 1000).toFixed(1);
      const bad = position === this.violation;
      return drawing("line", {
        x1: x, x2: x, y1: 0, y2: 40, class: `tick ${bad ? "bad" : kind}`,
        "vector-effect": "non-scaling-stroke",
      }, drawing("title", {}, `event ${this.numberOf(position)}: ${kind}`));
    });
    return drawing("svg", {
      viewBox: "0 0 1000 40", preserveAspectRatio: "none", class: "strip", role: "img",
      "aria-label": `calls in flight over the run, at most ${most}, and cells resolved`,
    }, drawing("path", { d: `${area}V40Z`, class: "load" }),
      drawing("path", { d: path, class: "done", "vector-effect": "non-scaling-stroke" }), ...ticks);
  }

  makeStage() {
    this.status = make("p", { id: "status", class: "status" });
    this.inFlight = make("div", { id: "in-flight" });
    this.storage = make("div", { id: "storage" });
    this.inspector = make("div", { id: "inspector" });
    this.events = make("ol", { id: "events", class: "events" });
    this.legend = make("ul", {
      id: "legend", class: "legend", "aria-label": "states, with counts",
    });
    this.table = make("table", { id: "grid", role: "grid", "aria-label": "rows × columns" });
    this.table.className = this.roomy ? "roomy" : "compact";
    this.scroll = make("div", { class: "grid-scroll", tabindex: -1 }, this.table);
    this.pager = make("p", { class: "pager", hidden: true });
    const part = (title, element, id) =>
      make("section", { class: "part", "aria-labelledby": id }, make("h3", { id }, title), element);
    return make("div", { class: "stage" },
      make("div", { class: "pane" }, this.status, this.pager, this.scroll, this.legend,
        part("Node", this.inspector, "h-node")),
      make("aside", { class: "side", "aria-label": "details" },
        part("In flight", this.inFlight, "h-flight"),
        part("Storage", this.storage, "h-storage"),
        part("Events", this.events, "h-events")));
  }

  // ---- the table

  makeTable() {
    const { replay, data } = this;
    this.grouped = data.limits.groupRows !== null;
    this.setWidths();
    this.heads = data.columns.map((column, at) => this.makeHead(column, at));
    const head = (text, name) => make("th", { class: name, role: "columnheader" }, text);
    const corner = this.grouped ? [head("grp", "group"), head("row", "corner")]
      : [head("row", "corner")];
    this.body = make("tbody", { role: "rowgroup" });
    this.table.replaceChildren(
      make("thead", { role: "rowgroup" },
        make("tr", { role: "row" }, ...corner, ...this.heads.map(({ element }) => element))),
      this.body);
    this.table.setAttribute("aria-rowcount", replay.height + 1);
    this.makeRows();
  }

  // Rows are laid out one by one, each as a CSS grid of fixed height: a change in one leaves
  // the others alone, which a table of the browser would measure again. Roles are written out.
  setWidths() {
    const widths = this.grouped ? [34] : [];
    widths.push(this.roomy ? 104 : 66);
    for (const column of this.data.columns) {
      if (column.scope) widths.push(18);
      widths.push(this.roomy ? 118 : 26);
    }
    const total = widths.reduce((a, b) => a + b, 0);
    this.table.style.setProperty("--columns", widths.map((width) => `${width}px`).join(" "));
    this.table.style.setProperty("--total", `${total}px`);
  }

  makeHead(column, at) {
    const needs = column.needs.map((need) => this.data.columns[need].name).join(", ");
    const count = make("span", { class: "count" });
    const chips = make("span", { class: "chips" });
    const about = [
      column.traits.join(" | "), needs && `needs ${needs}`,
      column.resource && `on ${column.resource}`,
    ].filter(Boolean).join("; ");
    const element = make("th", {
      class: column.scope ? "head wide" : "head", role: "columnheader", "data-c": at,
      title: about ? `${column.name}: ${about}` : column.name,
    }, make("span", { class: "name" }, column.name));
    if (this.roomy) {
      if (needs) element.append(make("span", { class: "needs" }, `← ${needs}`));
      for (const trait of column.traits) {
        element.append(make("span", { class: "trait" }, trait.toLowerCase().replaceAll("_", " ")));
      }
      if (column.resource) element.append(make("span", { class: "resource" }, column.resource));
    }
    if (column.scope) element.append(chips);
    element.append(count);
    return { element, count, chips };
  }

  makeRows() {
    const last = Math.min(this.first + this.windowRows, this.replay.height);
    this.last = last;
    const rows = last - this.first;
    this.shown = new Uint32Array(rows * this.width).fill(0xffffffff);
    this.marks = new Uint8Array(rows * this.width);
    this.tds = new Array(rows * this.width);
    this.rails = [];
    this.rowHeads = [];
    this.groupCells = [];
    const fragment = document.createDocumentFragment();
    for (let row = this.first; row < last; row++) fragment.append(this.makeRow(row));
    this.body.replaceChildren(fragment);
    this.showPager();
    if (this.tds.length) this.tds[0].tabIndex = 0;
  }

  makeRow(row) {
    const element = make("tr", { role: "row", "aria-rowindex": row + 2 });
    if (this.grouped) {
      const size = this.data.limits.groupRows;
      const cell = make("td", { class: "group", role: "gridcell", "data-r": row });
      if (row % size === 0 || row === this.first) cell.append(`G${Math.floor(row / size)}`);
      this.groupCells.push(cell);
      element.append(cell);
    }
    const head = make("th", { class: "row", role: "rowheader", "data-r": row });
    const word = make("span", { class: "row-state" });
    head.append(make("span", { class: "row-number" }, String(row)), word);
    this.rowHeads.push({ element: head, word });
    element.append(head);
    for (let column = 0; column < this.width; column++) {
      const { scope } = this.data.columns[column];
      if (scope) {
        const rail = make("td", {
          class: "rail", role: "gridcell", "data-c": column, "data-r": row,
          "data-scope": Math.floor(row / scope),
        });
        this.rails.push({ element: rail, column, row, scope: Math.floor(row / scope), shown: "" });
        element.append(rail);
      }
      const cell = document.createElement("td");
      cell.setAttribute("role", "gridcell");
      cell.dataset.c = column;
      cell.dataset.r = row;
      cell.tabIndex = -1;
      this.tds[(row - this.first) * this.width + column] = cell;
      element.append(cell);
    }
    return element;
  }

  showPager() {
    const total = this.replay.height;
    this.pager.hidden = total <= this.windowRows;
    if (this.pager.hidden) return;
    const page = (text, by) => make("button", {
      type: "button", onclick: () => this.moveWindow(this.first + by * this.windowRows),
    }, text);
    this.pager.replaceChildren(
      page("‹ rows before", -1),
      ` rows ${this.first}–${this.last - 1} of ${total.toLocaleString("en-US")} `,
      page("rows after ›", 1));
  }

  moveWindow(first) {
    const bound = Math.max(0, Math.ceil(this.replay.height / this.windowRows) - 1);
    const page = Math.max(0, Math.min(bound, Math.floor(first / this.windowRows)));
    if (page * this.windowRows === this.first) return;
    this.first = page * this.windowRows;
    this.makeRows();
    this.draw();
  }

  // ---- moving in time

  show(position) {
    const goal = Math.max(0, Math.min(this.replay.length, position));
    this.replay.seek(goal);
    this.event = goal ? unpack(this.data, goal) : null;
    this.slider.value = goal;
    this.bringIntoView();
    this.draw();
    this.remember();
  }

  move(by) {
    this.show(this.replay.position + by);
  }

  moveToMark(direction) {
    const here = this.replay.position;
    const ahead = direction > 0
      ? this.notable.find(({ position }) => position > here)
      : this.notable.findLast(({ position }) => position < here);
    if (ahead) this.show(ahead.position);
  }

  play() {
    if (this.timer !== null) return this.pause();
    if (this.replay.position === this.replay.length) this.show(0);
    setText(this.playButton, "pause");
    this.line.setAttribute("aria-live", "off");
    const beat = () => {
      const rate = +this.speed.value;
      const step = Math.max(1, Math.round(rate / 30));
      if (this.replay.position >= this.replay.length) return this.pause();
      this.timer = setTimeout(beat, (1000 * step) / rate);
      this.move(step);
    };
    this.timer = setTimeout(beat, 0);
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    setText(this.playButton, "play");
    this.line.setAttribute("aria-live", "polite");
  }

  // The fragment tells where to be; true if it did.
  follow() {
    const fields = new URLSearchParams(location.hash.slice(1));
    const cell = /^(c|b)(\d+)r(\d+)$/.exec(fields.get("cell") || "");
    this.selected = cell && +cell[2] < this.width && +cell[3] < this.replay.height
      ? { column: +cell[2], row: +cell[3], node: cell[1] === "b" }
      : null;
    if (!/^\d+$/.test(fields.get("event") || "")) return false;
    this.show(this.positionOf(+fields.get("event")));
    return true;
  }

  remember() {
    clearTimeout(this.memory);
    if (this.timer !== null) return;
    // Browsers allow only so many changes of the address in a while.
    this.memory = setTimeout(() => {
      const at = this.selected;
      const cell = at ? `&cell=${at.node ? "b" : "c"}${at.column}r${at.row}` : "";
      const number = this.replay.position ? this.numberOf(this.replay.position) : 0;
      // A page of several failures keeps the name of the one that it shows.
      const failure = new URLSearchParams(location.hash.slice(1)).get("failure");
      const which = failure ? `failure=${encodeURIComponent(failure)}&` : "";
      try {
        history.replaceState(null, "", `#${which}event=${number}${cell}`);
      } catch {
        // The address is a convenience; some browsers keep it shut for files.
      }
    }, 300);
  }

  bringIntoView() {
    const { event } = this;
    if (!event) return;
    let row = event.start;
    if (event.scope >= 0 && event.column >= 0 && event.column < this.width) {
      row = this.replay.reach(event.column, event.scope)[0];
    }
    if (row < 0 || row >= this.replay.height || event.stop - event.start > this.windowRows) return;
    if (row < this.first || row >= this.last) {
      this.first = Math.floor(row / this.windowRows) * this.windowRows;
      this.makeRows();
    }
    const column = event.column >= 0 && event.column < this.width ? event.column : 0;
    const td = this.tds[(row - this.first) * this.width + column];
    if (td) scrollInside(this.scroll, td);
  }

  // ---- drawing

  draw() {
    this.mark();
    this.drawCells();
    this.drawRails();
    this.drawRowHeads();
    this.drawHeads();
    this.drawLine();
    this.drawStatus();
    this.drawInFlight();
    this.drawStorage();
    this.drawEvents();
    this.drawLegend();
    this.drawInspector();
  }

  // What is special about cells at this moment.
  mark() {
    const { replay, event } = this;
    this.marks.fill(0);
    if (event) this.markEvent(event, NOW);
    if (this.violation && replay.position >= this.violation) {
      this.markEvent(unpack(this.data, this.violation), BAD);
    }
    this.markClaim(replay.claim, CLAIM_END);
    if (replay.pendingClaim) this.markClaim(replay.pendingClaim, PENDING_END);
    const at = this.selected;
    if (at && !at.node) this.markCell(at.column, at.row, SELECTED);
  }

  markCell(column, row, bit) {
    if (row >= this.first && row < this.last) {
      this.marks[(row - this.first) * this.width + column] |= bit;
    }
  }

  markEvent(event, bit) {
    if (event.column < 0 || event.column >= this.width || event.scope >= 0) return;
    if (event.kind === "drop") return;
    const stop = Math.min(event.stop, this.last);
    for (let row = Math.max(event.start, this.first); row < stop; row++) {
      this.markCell(event.column, row, bit);
    }
  }

  markClaim(claim, bit) {
    claim.forEach((rows, column) => {
      if (rows > 0) this.markCell(column, rows - 1, bit);
    });
  }

  drawCells() {
    const { cells, tries } = this.replay;
    const offset = this.first * this.width;
    for (let at = 0; at < this.tds.length; at++) {
      const seen = cells[offset + at] | (tries[offset + at] << 8) | (this.marks[at] << 16);
      if (this.shown[at] !== seen) {
        this.shown[at] = seen;
        this.drawCell(this.tds[at], at % this.width, cells[offset + at], tries[offset + at],
          this.marks[at]);
      }
    }
  }

  drawCell(td, column, cell, tries, marks) {
    const word = STATES[cell & STATE];
    const again = tries > 1 && (word === "running" || word === "backoff") ? ` ${tries}` : "";
    const abandoned = cell & ABANDONED ? SYMBOL.running : "";
    setText(td, SYMBOL[word] + abandoned + again);
    let names = abandoned ? "cell abandoned" : "cell";
    if (cell & DURABLE) names += " durable";
    if (marks & NOW) names += " now";
    if (marks & BAD) names += " bad";
    if (marks & CLAIM_END) names += " claim-end";
    if (marks & PENDING_END) names += " pending-end";
    if (marks & SELECTED) names += " selected";
    td.className = names;
    td.dataset.state = word;
    const label = cellInWords(word, cell, tries);
    td.setAttribute("aria-label",
      `${this.data.columns[column].name} row ${td.dataset.r}: ${label}`);
  }

  drawRails() {
    const { replay } = this;
    const now = this.nodesOf(this.event);
    const bad = this.violation && replay.position >= this.violation
      ? this.nodesOf(unpack(this.data, this.violation)) : null;
    const states = this.barrierStates();
    for (const rail of this.rails) {
      const { column, row, scope } = rail;
      const node = replay.barriers[column][scope];
      const absent = row >= replay.rows;
      const state = absent ? "absent" : states[column][scope];
      const read = absent || !node.reads || node.reads.some(([a, b]) => a <= row && row < b);
      const here = (set) => set && !absent && set.column === column && set.scope === scope;
      const chosen = this.selected && this.selected.node && this.selected.column === column &&
        Math.floor(this.selected.row / this.data.columns[column].scope) === scope;
      const ends = (row + 1) % this.data.columns[column].scope === 0 || row + 1 === replay.rows;
      const names = "rail" + (read ? "" : " unread") + (ends ? " ends" : "") +
        (here(now) ? " now" : "") +
        (here(bad) ? " bad" : "") + (chosen ? " selected" : "");
      const seen = `${state} ${names}`;
      if (rail.shown === seen) continue;
      rail.shown = seen;
      rail.element.className = names;
      rail.element.dataset.state = state;
      rail.element.title = `${barrierInWords(this.data.columns[column].name, scope)}: ${state}` +
        (node.reads ? `, read rows ${rangesInWords(node.reads)}` : "");
      const top = row === this.first || row % this.data.columns[column].scope === 0;
      setText(rail.element, top && !absent ? SYMBOL[state] ?? "∅" : "");
    }
  }

  // The state of each barrier node in words; an unwanted one has a word of its own.
  barrierStates() {
    const { replay } = this;
    return replay.barriers.map((nodes, column) => nodes.map((node, scope) => {
      if (node.state !== PENDING) return STATES[node.state];
      const [start, stop] = replay.reach(column, scope);
      if (start >= stop) return "absent";
      for (let row = start; row < stop; row++) {
        if (!RESOLVED[replay.state(column, row)]) return "pending";
      }
      return "not needed";
    }));
  }

  nodesOf(event) {
    return event && event.scope >= 0 ? { column: event.column, scope: event.scope } : null;
  }

  drawRowHeads() {
    const { replay, event } = this;
    const bad = this.violation && replay.position >= this.violation
      ? unpack(this.data, this.violation) : null;
    const inside = (each, row) => each && each.start <= row && row < each.stop;
    this.rowHeads.forEach(({ element, word }, at) => {
      const row = this.first + at;
      const state = this.rowInWords(row);
      element.dataset.rowState = state.word;
      element.className = "row" + (inside(event, row) ? " now" : "") +
        (inside(bad, row) ? " bad" : "");
      element.title = state.title;
      setText(word, this.roomy ? state.text : SYMBOL[state.word] || "");
    });
    this.groupCells.forEach((cell, at) => {
      const state = ["waiting", "admitted", "retired"][replay.rowGroup[this.first + at]];
      cell.dataset.group = state;
      cell.title = `group ${Math.floor((this.first + at) / this.data.limits.groupRows)}: ${state}`;
    });
  }

  rowInWords(row) {
    const { replay } = this;
    if (row >= replay.rows) return { word: "absent", text: "", title: "beyond the rows of this incarnation" };
    const state = replay.rowState[row];
    if (state !== LIVE) {
      const cause = replay.rowCause[row];
      const why = cause >= 0 ? ` because of ${this.data.names[cause]}` : "";
      const noted = state === ROW_DROPPED ? ", not recorded yet" : "";
      const safe = state === TOMBSTONE ? ", on storage" : "";
      return { word: "dropped", text: "dropped", title: `dropped${why}${noted}${safe}` };
    }
    for (let column = 0; column < this.width; column++) {
      if (!RESOLVED[replay.state(column, row)]) return { word: "live", text: "", title: "live" };
    }
    return { word: "complete", text: "complete", title: "every cell is resolved" };
  }

  drawHeads() {
    const { replay } = this;
    const states = this.barrierStates();
    const now = this.nodesOf(this.event);
    const bad = this.violation && replay.position >= this.violation
      ? this.nodesOf(unpack(this.data, this.violation)) : null;
    this.heads.forEach(({ element, count, chips }, column) => {
      let done = 0;
      for (let row = 0; row < replay.rows; row++) done += RESOLVED[replay.state(column, row)];
      setText(count, this.roomy ? `${done} of ${replay.rows}` : String(done));
      const claimed = replay.claim[column] === 0;
      element.classList.toggle("claim-none", claimed && replay.claim.some((rows) => rows > 0));
      element.classList.toggle("now", Boolean(this.event) && this.event.column === column);
      if (states[column].length) this.drawChips(chips, column, states[column], now, bad);
    });
  }

  // One chip a barrier node while they are few, else one for each state with its count.
  drawChips(chips, column, states, now, bad) {
    const real = states.filter((state) => state !== "absent");
    const key = `${states.join()} ${now?.column === column && now.scope} ${bad?.column === column}`;
    if (chips.dataset.key === key) return;
    chips.dataset.key = key;
    const one = (state, text, label, extra = "") => make("span", {
      class: `chip${extra}`, "data-state": state, title: label, "aria-label": label,
    }, text);
    if (real.length > (this.roomy ? 4 : 1)) {
      const kinds = [...new Set(real)];
      chips.replaceChildren(...kinds.map((state) => {
        const count = real.filter((each) => each === state).length;
        const symbol = SYMBOL[state] ?? "∅";
        const text = this.roomy ? `${symbol} ${count} ${state}` : symbol;
        return one(state, text, `${count} barriers ${state}`);
      }));
      return;
    }
    chips.replaceChildren(...real.map((state, scope) => {
      const mark = (set) => set && set.column === column && set.scope === scope;
      const extra = (mark(now) ? " now" : "") + (mark(bad) ? " bad" : "");
      const name = real.length > 1 ? `${scope}: ` : "";
      const text = this.roomy ? `${SYMBOL[state] ?? "∅"} ${name}${state}`
        : SYMBOL[state] ?? "∅";
      const chip = one(state, text, `barrier ${scope}: ${state}`, extra);
      chip.dataset.scope = scope;
      return chip;
    }));
  }

  drawLine() {
    const { replay, event } = this;
    const position = replay.position;
    // A violation without an event, such as an end that never came, is shown after the last event.
    const after = !this.violation && this.data.why !== "" && position === replay.length;
    const here = position > 0 && position === this.violation;
    this.line.classList.toggle("bad", here);
    const total = replay.length.toLocaleString("en-US");
    if (!event) {
      this.line.replaceChildren(
        make("b", { id: "event-number" }, "0"), ` of ${total} `,
        make("span", { id: "event-text" }, "before the first event"));
      return;
    }
    this.line.replaceChildren(
      make("b", { id: "event-number" }, String(this.numberOf(position))), ` of ${total} · `,
      make("span", { id: "clock" }, seconds(event.t)), " · ",
      make("span", { id: "incarnation" }, `incarnation ${replay.incarnation}`), " · ",
      make("span", { id: "event-text" }, describe(replay, event)));
    if (here || after) {
      this.line.append(make("strong", { id: "violation" },
        ` ✗ ${after ? "after this" : "this breaks"} ${this.data.why || "a clause"}`));
    }
  }

  drawStatus() {
    const { replay } = this;
    let state = "running", text = "";
    if (replay.crashed) [state, text] = ["crashed", "✗ crashed: waiting to be resumed"];
    else if (replay.outcome !== null) [state, text] = ["ended", `■ ended: ${replay.outcome}`];
    else if (replay.stopped !== null) {
      [state, text] = ["stopped", `■ stopped early: ${replay.stopped}; nothing starts any more`];
    }
    this.status.dataset.status = state;
    this.status.hidden = !text;
    setText(this.status, text);
  }

  drawInFlight() {
    const { replay, data } = this;
    const used = new Map(data.limits.resources.map(([name]) => [name, 0]));
    for (const call of replay.calls) {
      const name = data.columns[call.column].resource;
      if (name !== null) used.set(name, (used.get(name) || 0) + 1);
    }
    const limits = [["workers", replay.calls.length, data.limits.workers]];
    for (const [name, count] of used) {
      const limit = data.limits.resources.find(([each]) => each === name);
      limits.push([name, count, limit ? limit[1] : null]);
    }
    if (data.limits.groupRows !== null) {
      limits.push(["row groups", this.groupsAdmitted(), data.limits.groups]);
    }
    const bars = limits.map(([name, count, limit]) => make("li", {
      "data-resource": name, "data-used": count, "data-limit": limit ?? "none",
      class: limit !== null && count > limit ? "over" : null,
    }, make("span", {}, name), make("meter", {
      min: 0, max: Math.max(limit ?? 1, 1), value: Math.min(count, limit ?? 0),
      "aria-label": `${name} in use`, hidden: limit === null,
    }), make("b", {}, limit === null ? `${count}` : `${count} of ${limit}`)));
    const calls = replay.calls.slice(0, 10).map((call) => make("li", {},
      nodeInWords(data, call), call.tries > 1 ? `, attempt ${call.tries}` : "",
      make("span", { class: "since" }, ` since ${seconds(call.since)}`)));
    if (replay.calls.length > 10) {
      calls.push(make("li", {}, `and ${replay.calls.length - 10} more`));
    }
    this.inFlight.replaceChildren(
      make("ul", { class: "bars" }, ...bars),
      calls.length ? make("ul", { class: "calls" }, ...calls) : make("p", {}, "nothing"));
  }

  groupsAdmitted() {
    const size = this.data.limits.groupRows;
    let count = 0;
    for (let row = 0; row < this.replay.height; row += size) {
      count += this.replay.rowGroup[row] === ADMITTED;
    }
    return count;
  }

  drawStorage() {
    const { replay, data } = this;
    const line = (name, id, text) =>
      make("li", {}, make("span", {}, name), make("b", { id }, text));
    const items = [line("claim", "claim", claimInWords(data.columns, replay.claim))];
    if (replay.pendingClaim) {
      items.push(line("being written", "pending-claim",
        claimInWords(data.columns, replay.pendingClaim)));
    }
    this.storage.replaceChildren(make("ul", { class: "facts" }, ...items));
  }

  drawEvents() {
    const here = this.replay.position;
    const from = Math.max(1, Math.min(here - LISTED_BEFORE,
      this.replay.length - LISTED_BEFORE - LISTED_AFTER));
    const to = Math.min(this.replay.length, from + LISTED_BEFORE + LISTED_AFTER);
    const items = [];
    for (let at = from; at <= to; at++) items.push(this.makeEventItem(at, at === here));
    this.events.replaceChildren(...items);
  }

  makeEventItem(position, current) {
    const event = unpack(this.data, position);
    const bad = position === this.violation;
    return make("li", { class: bad ? "bad" : null, "aria-current": current ? "step" : null },
      make("button", { type: "button", onclick: () => this.show(position) },
        make("span", { class: "number" }, String(this.numberOf(position))),
        make("span", { class: "time" }, seconds(event.t)),
        make("span", { class: "text" }, (bad ? "✗ " : "") + describe(this.replay, event))));
  }

  drawLegend() {
    const counts = new Uint32Array(16);
    for (const cell of this.replay.cells) counts[cell & STATE] += 1;
    const key = counts.join();
    if (this.legend.dataset.key === key) return;
    this.legend.dataset.key = key;
    const items = STATES.filter((word) => word !== "absent").map((word, state) =>
      make("li", { "data-count": counts[state], title: MEANING[word] },
        make("span", { class: "swatch", "data-state": word }, SYMBOL[word]),
        `${word} `, make("b", {}, String(counts[state]))));
    const marks = KEY.map(([name, text]) =>
      make("li", { class: "key" }, make("span", { class: `swatch mark ${name}` }), text));
    this.legend.replaceChildren(...items, ...marks);
  }

  // ---- one node and its history

  drawInspector() {
    const at = this.selected;
    if (!at) {
      this.inspector.replaceChildren(
        make("p", {}, "choose a cell, or a barrier's bar, for its history"));
      return;
    }
    const { replay, data } = this;
    const column = data.columns[at.column];
    const scope = column.scope ? Math.floor(at.row / column.scope) : -1;
    const title = at.node ? barrierInWords(column.name, scope) : `${column.name}[${at.row}]`;
    const cell = replay.cells[at.row * this.width + at.column];
    const words = at.node
      ? this.barrierStates()[at.column][scope]
      : cellInWords(STATES[cell & STATE], cell, replay.tries[at.row * this.width + at.column]);
    const facts = [
      make("li", {}, make("span", {}, "state"), make("b", { id: "node-state" }, words)),
    ];
    for (const [name, state] of this.inputsOf(at, column)) {
      facts.push(make("li", {}, make("span", {}, name), make("b", {}, state)));
    }
    const history = this.historyOf(at, scope);
    const shown = history.slice(-40).map((position) =>
      this.makeEventItem(position, position === replay.position));
    this.inspector.replaceChildren(
      make("p", {}, make("b", { id: "node" }, title),
        make("button", {
          type: "button", class: "plain", onclick: () => this.select(null),
        }, "close")),
      make("ul", { class: "facts" }, ...facts),
      make("ol", { class: "events", id: "history" }, ...shown));
  }

  // What a node waits for, as lines of (name, state).
  inputsOf(at, column) {
    const { replay, data } = this;
    if (!at.node && column.scope) {
      const scope = Math.floor(at.row / column.scope);
      return [[`barrier ${scope}`, this.barrierStates()[at.column][scope]]];
    }
    const rows = at.node ? replay.reach(at.column, Math.floor(at.row / column.scope)) : null;
    return column.needs.map((need) => {
      const name = data.columns[need].name;
      if (!rows) return [`needs ${name}[${at.row}]`, STATES[replay.state(need, at.row)]];
      let done = 0;
      for (let row = rows[0]; row < rows[1]; row++) done += RESOLVED[replay.state(need, row)];
      return [`needs ${name}[${rows[0]}:${rows[1]}]`, `${done} of ${rows[1] - rows[0]} resolved`];
    });
  }

  // Positions of the events that concern a node, in order.
  historyOf(at, scope) {
    const key = `${at.node}${at.column}.${at.row}`;
    if (this.history?.key === key) return this.history.found;
    const found = [];
    this.history = { key, found };
    for (let position = 1; position <= this.replay.length; position++) {
      const event = unpack(this.data, position);
      const mine = event.kind === "crash" || event.kind === "resume" ||
        (event.scope >= 0 ? event.column === at.column && event.scope === scope
          : !at.node && event.start <= at.row && at.row < event.stop &&
            (event.column === at.column || event.kind === "drop" || event.column < 0));
      if (mine) found.push(position);
    }
    return found;
  }

  select(at) {
    this.selected = at;
    this.draw();
    this.remember();
  }

  // ---- keys and clicks

  listen() {
    addEventListener("hashchange", () => {
      if (this.follow()) document.getElementById("replay").scrollIntoView({ block: "nearest" });
    });
    this.table.addEventListener("click", ({ target }) => {
      const td = target.closest("td.cell, td.rail");
      if (!td) return;
      this.select({
        column: +td.dataset.c, row: +td.dataset.r, node: td.classList.contains("rail"),
      });
      if (td.classList.contains("cell")) this.focusCell(+td.dataset.r, +td.dataset.c);
    });
    document.addEventListener("keydown", (key) => this.press(key));
  }

  press(key) {
    if (key.ctrlKey || key.metaKey || key.altKey) return;
    const { target } = key;
    if (target.closest("select, textarea, input:not([type=range])")) return;
    const cell = target.closest("td.cell");
    if (cell && this.pressInGrid(key, cell)) return;
    if (key.key === " " && target.closest("button, a, summary")) return;
    const ten = key.shiftKey ? 10 : 1;
    const action = {
      ArrowLeft: () => this.move(-ten),
      ArrowRight: () => this.move(ten),
      Home: () => this.show(0),
      End: () => this.show(this.replay.length),
      "[": () => this.moveToMark(-1),
      "]": () => this.moveToMark(1),
      ",": () => this.move(-1),
      ".": () => this.move(1),
      " ": () => this.play(),
      v: () => this.violation && this.show(this.violation),
    }[key.key];
    if (!action) return;
    key.preventDefault();
    action();
  }

  // Arrows move from cell to cell while one has the focus, as in any grid.
  pressInGrid(key, cell) {
    const row = +cell.dataset.r, column = +cell.dataset.c;
    const step = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    }[key.key];
    if (step) this.focusCell(row + step[0], column + step[1]);
    else if (key.key === "Enter") this.select({ column, row, node: false });
    else if (key.key === "Escape") this.select(null);
    else return false;
    key.preventDefault();
    return true;
  }

  focusCell(row, column) {
    if (column < 0 || column >= this.width) return;
    const td = row >= this.first && row < this.last
      ? this.tds[(row - this.first) * this.width + column] : null;
    if (!td) return;
    for (const each of this.table.querySelectorAll('td[tabindex="0"]')) each.tabIndex = -1;
    td.tabIndex = 0;
    td.focus({ preventScroll: true });
    scrollInside(this.scroll, td);
  }
}

function cellInWords(word, cell, tries) {
  const parts = [word];
  if (tries > 1 && (word === "running" || word === "backoff")) parts.push(`attempt ${tries}`);
  if (cell & ABANDONED) parts.push("still in flight, its end is ignored");
  if (cell & DURABLE) parts.push("durable");
  return parts.join(", ");
}

/* At most `count` marks: the rarest kinds are kept whole, the others evenly thinned. */
function thin(marks, count, violation) {
  if (marks.length <= count) return marks;
  const kinds = Map.groupBy(marks, ({ kind }) => kind);
  let room = count;
  const kept = [];
  const order = [...kinds.values()].sort((a, b) => a.length - b.length);
  order.forEach((group, at) => {
    const share = Math.max(1, Math.floor(room / (order.length - at)));
    const every = Math.max(1, Math.ceil(group.length / share));
    const some = group.filter(({ position }, index) =>
      index % every === 0 || position === violation);
    room -= some.length;
    kept.push(...some);
  });
  return kept;
}

/* Scrolls a pane, and nothing else, so that an element is in it beside the fixed heads. */
function scrollInside(pane, element) {
  const head = pane.querySelector("thead").offsetHeight;
  const side = pane.querySelector("tbody th").offsetWidth;
  const outer = pane.getBoundingClientRect();
  const inner = element.getBoundingClientRect();
  if (inner.top < outer.top + head) pane.scrollTop -= outer.top + head - inner.top;
  else if (inner.bottom > outer.bottom) pane.scrollTop += inner.bottom - outer.bottom + 20;
  if (inner.left < outer.left + side) pane.scrollLeft -= outer.left + side - inner.left;
  else if (inner.right > outer.right) pane.scrollLeft += inner.right - outer.right + 20;
}

{
  const data = document.getElementById("trace-data");
  const root = document.getElementById("replay");
  if (data && root) new View(JSON.parse(data.textContent), root);
}
