"use strict";
/* The state of a run at any of its events, for drawing.
 *
 * `Replay` takes the data that `grid_page.encode` packed and moves to any position: 0 is before the
 * first event, n is after the n-th. It steps forward event by event and keeps a snapshot every so
 * often, so that a slider can be dragged back over thousands of events.
 *
 * It only draws. Each event is drawn as it is, and an event that makes no sense (a missing row, an
 * end without a start) changes as much as it can, without an exception.
 */

const STATES = [
  "pending", "running", "backoff", "failed", "complete", "claimed", "skipped", "dropped", "lost",
  "absent",
];
const [PENDING, RUNNING, BACKOFF, FAILED, COMPLETE, CLAIMED, SKIPPED, DROPPED, LOST, ABSENT] =
  STATES.keys();
const STATE = 0x0f; // the part of a cell's byte that holds its state
const DURABLE = 0x10; // its data is safe on storage
const ABANDONED = 0x20; // its row was dropped while its call was in flight; the end is ignored
const RESOLVED = STATES.map((_, s) => s >= FAILED && s <= DROPPED);

const WAITING = 0, ADMITTED = 1, RETIRED = 2; // of a row's group
const LIVE = 0, ROW_DROPPED = 1, RECORDED = 2, TOMBSTONE = 3; // of a row

/* An event as the scripts use it: kind, t in seconds (or null), column position (or -1), rows
 * [start, stop), scope (or -1), and the fields that only some events have. */
function unpack(data, position) {
  const [kind, t, column, start, stop, scope, more] = data.events[position - 1];
  return { kind: data.kinds[kind], t, column, start, stop, scope, more: more || {} };
}

class Replay {
  constructor(data) {
    this.data = data;
    this.columns = data.columns;
    this.width = data.columns.length;
    this.height = data.mostRows;
    this.length = data.events.length;
    const bytes = 2 * this.width * this.height + 8 * this.height + 1000;
    const kept = Math.max(4, Math.min(400, Math.floor(64e6 / bytes)));
    this.stride = Math.max(64, Math.ceil(this.length / kept));
    this.snapshots = [];
    this.reset();
    this.snapshots.push(this.save());
  }

  reset() {
    const { width, height } = this;
    this.position = 0;
    this.cells = new Uint8Array(width * height);
    this.tries = new Uint8Array(width * height);
    this.rowState = new Uint8Array(height);
    this.rowCause = new Int16Array(height).fill(-1);
    this.rowGroup = new Uint8Array(height);
    this.barriers = this.columns.map((column) =>
      Array.from({ length: column.scope ? Math.ceil(height / column.scope) : 0 }, newBarrier));
    this.calls = []; // in flight: {column, start, stop, scope, left, tries, since}
    this.rows = this.data.rows;
    this.claim = new Array(width).fill(0);
    this.pendingClaim = null;
    this.incarnation = 0;
    this.crashed = false;
    this.stopped = null;
    this.outcome = null;
    this.resolved = 0;
    this.cells.fill(ABSENT, this.rows * width);
  }

  save() {
    return {
      ...this.plain(),
      cells: this.cells.slice(),
      tries: this.tries.slice(),
      rowState: this.rowState.slice(),
      rowCause: this.rowCause.slice(),
      rowGroup: this.rowGroup.slice(),
    };
  }

  // The part of the state that is not kept in typed arrays, copied.
  plain() {
    return {
      position: this.position,
      barriers: this.barriers.map((nodes) => nodes.map((node) => ({ ...node }))),
      calls: this.calls.map((call) => ({ ...call })),
      rows: this.rows,
      claim: this.claim,
      pendingClaim: this.pendingClaim,
      incarnation: this.incarnation,
      crashed: this.crashed,
      stopped: this.stopped,
      outcome: this.outcome,
      resolved: this.resolved,
    };
  }

  restore(snapshot) {
    for (const name of ["cells", "tries", "rowState", "rowCause", "rowGroup"]) {
      this[name].set(snapshot[name]);
    }
    Object.assign(this, this.plain.call(snapshot));
  }

  seek(position) {
    const goal = Math.max(0, Math.min(this.length, position));
    const near = Math.min(Math.floor(goal / this.stride), this.snapshots.length - 1);
    if (goal < this.position || near * this.stride > this.position) {
      this.restore(this.snapshots[near]);
    }
    while (this.position < goal) this.step();
  }

  step() {
    this.position += 1;
    const event = unpack(this.data, this.position);
    const act = Object.hasOwn(ACTIONS, event.kind) ? ACTIONS[event.kind] : null;
    if (act) act.call(this, event);
    if (this.position === this.snapshots.length * this.stride) this.snapshots.push(this.save());
  }

  // ---- helpers of the actions

  known(event) {
    return event.column >= 0 && event.column < this.width;
  }

  // The rows of an event that are in the picture, as [start, stop).
  span(event) {
    const start = Math.min(Math.max(event.start, 0), this.height);
    return [start, Math.min(Math.max(event.stop, start), this.height)];
  }

  node(event) {
    return this.known(event) && event.scope >= 0
      ? this.barriers[event.column][event.scope] || null
      : null;
  }

  reach(column, scope) {
    const size = this.columns[column].scope;
    return [scope * size, Math.min((scope + 1) * size, this.rows)];
  }

  state(column, row) {
    return this.cells[row * this.width + column] & STATE;
  }

  // A cell's state changes; known durability stays.
  put(column, row, state) {
    const at = row * this.width + column;
    const old = this.cells[at];
    this.resolved += RESOLVED[state] - RESOLVED[old & STATE];
    this.cells[at] = (old & DURABLE) | state;
  }

  flag(column, row, bit, on) {
    const at = row * this.width + column;
    this.cells[at] = on ? this.cells[at] | bit : this.cells[at] & ~bit;
  }

  // A row is dropped: its open cells are given up, its calls in flight may end and are ignored.
  dropRow(row) {
    if (row >= this.height) return;
    for (let column = 0; column < this.width; column++) {
      const state = this.state(column, row);
      if (RESOLVED[state] || state === ABSENT) continue;
      this.put(column, row, DROPPED);
      if (state === RUNNING) this.flag(column, row, ABANDONED, true);
    }
    if (this.rowState[row] === LIVE) this.rowState[row] = ROW_DROPPED;
  }

  callOf(column, row) {
    return this.calls.findIndex(
      (call) => call.column === column && call.scope < 0 && call.start <= row && row < call.stop);
  }

  callOfBarrier(event) {
    return this.calls.findIndex(
      (call) => call.column === event.column && call.scope === event.scope);
  }

  // One row of a call came to its end; the call ends with its last row.
  endRow(column, row) {
    const at = this.callOf(column, row);
    if (at >= 0 && (this.calls[at].left -= 1) <= 0) this.calls.splice(at, 1);
  }

  // The calls that cover rows of an event end without result; returns their rows, still open.
  endCalls(event) {
    const [start, stop] = this.span(event);
    const open = [];
    for (let row = start; row < stop; row++) {
      const at = this.callOf(event.column, row);
      if (at < 0) continue;
      const [call] = this.calls.splice(at, 1);
      for (let each = call.start; each < Math.min(call.stop, this.height); each++) {
        const index = each * this.width + event.column;
        if ((this.cells[index] & STATE) === RUNNING) open.push(each);
        this.cells[index] &= ~ABANDONED;
      }
    }
    return open;
  }

  recount() {
    this.resolved = 0;
    for (const cell of this.cells) this.resolved += RESOLVED[cell & STATE];
  }
}

function newBarrier() {
  return { state: PENDING, tries: 0, reads: null, until: null };
}

function attemptOf(event, otherwise) {
  return Number.isInteger(event.more.attempt) ? event.more.attempt : otherwise;
}

function isForGood(data, event, attempt) {
  return event.more.failure === "permanent" ||
    (event.more.failure === "retryable" && attempt >= data.maxAttempts);
}

/* Ranges of a field such as `dropped`, those that are well-formed. */
function ranges(value) {
  return Array.isArray(value)
    ? value.filter((item) => Array.isArray(item) && item.every(Number.isInteger))
    : [];
}

/* A claim, by column name in the trace, as rows by column position. */
function claimOf(replay, value) {
  const claim = value || {};
  return replay.columns.map(({ name }) =>
    Object.hasOwn(claim, name) && Number.isInteger(claim[name])
      ? Math.max(0, Math.min(claim[name], replay.height))
      : 0);
}

const ACTIONS = {
  start(event) {
    const tries = attemptOf(event, 1);
    const node = this.node(event);
    if (node) {
      Object.assign(node, { state: RUNNING, tries, until: null });
      node.reads = event.more.reads ? ranges(event.more.reads) : null;
      const { column, scope } = event;
      this.calls.push({ column, start: -1, stop: -1, scope, left: 1, tries, since: event.t });
      return;
    }
    if (!this.known(event)) return;
    const [start, stop] = this.span(event);
    for (let row = start; row < stop; row++) {
      this.put(event.column, row, RUNNING);
      this.tries[row * this.width + event.column] = Math.min(tries, 255);
    }
    // A column that streams runs its range in one call; elsewhere it is short for single cells.
    const whole = this.columns[event.column].streams;
    for (let row = start; row < stop; row = whole ? stop : row + 1) {
      const end = whole ? stop : row + 1;
      this.calls.push({
        column: event.column, start: row, stop: end, scope: -1, left: end - row, tries,
        since: event.t,
      });
    }
  },

  complete(event) {
    const node = this.node(event);
    if (node) {
      const at = this.callOfBarrier(event);
      if (at >= 0) this.calls.splice(at, 1);
      node.state = COMPLETE;
      return;
    }
    if (!this.known(event)) return;
    const [start, stop] = this.span(event);
    for (let row = start; row < stop; row++) {
      this.endRow(event.column, row);
      if (this.rowState[row] === LIVE) this.put(event.column, row, COMPLETE);
      else this.flag(event.column, row, ABANDONED, false);
    }
  },

  emit(event) {
    if (!this.known(event)) return;
    const [start, stop] = this.span(event);
    for (let row = start; row < stop; row++) {
      if (!RESOLVED[this.state(event.column, row)]) this.put(event.column, row, COMPLETE);
    }
  },

  fail(event) {
    const node = this.node(event);
    if (node) {
      const at = this.callOfBarrier(event);
      const attempt = attemptOf(event, at >= 0 ? this.calls[at].tries : 1);
      if (at >= 0) this.calls.splice(at, 1);
      const final = isForGood(this.data, event, attempt);
      Object.assign(node, { state: final ? FAILED : BACKOFF, until: event.more.until ?? null });
      if (!final) return;
      const [start, stop] = this.reach(event.column, event.scope);
      for (let row = start; row < stop; row++) {
        if (!RESOLVED[this.state(event.column, row)]) this.dropRow(row);
      }
      return;
    }
    if (!this.known(event)) return;
    const first = this.callOf(event.column, event.start);
    const attempt = attemptOf(event, first >= 0 ? this.calls[first].tries : 1);
    const final = isForGood(this.data, event, attempt);
    for (const row of this.endCalls(event)) {
      this.put(event.column, row, final ? FAILED : BACKOFF);
      if (final) this.dropRow(row);
    }
  },

  cancel(event) {
    const node = this.node(event);
    if (node) {
      const at = this.callOfBarrier(event);
      if (at >= 0) this.calls.splice(at, 1);
      node.state = PENDING;
      return;
    }
    if (!this.known(event)) return;
    for (const row of this.endCalls(event)) this.put(event.column, row, PENDING);
  },

  drop(event) {
    const [start, stop] = this.span(event);
    for (let row = start; row < stop; row++) {
      this.dropRow(row);
      this.rowState[row] = RECORDED;
      this.rowCause[row] = event.column;
    }
  },

  skip(event) {
    if (!this.known(event)) return;
    const [start, stop] = this.span(event);
    for (let row = start; row < stop; row++) this.put(event.column, row, SKIPPED);
  },

  admit(event) {
    this.rowGroup.fill(ADMITTED, ...this.span(event));
  },

  retire(event) {
    this.rowGroup.fill(RETIRED, ...this.span(event));
  },

  durable(event) {
    const [start, stop] = this.span(event);
    const every = event.column < 0;
    if (!every && !this.known(event)) return;
    const [first, last] = every ? [0, this.width] : [event.column, event.column + 1];
    for (let row = start; row < stop; row++) {
      if (every && this.rowState[row] !== LIVE) this.rowState[row] = TOMBSTONE;
      for (let column = first; column < last; column++) this.flag(column, row, DURABLE, true);
    }
  },

  checkpoint_begin(event) {
    this.pendingClaim = claimOf(this, event.more.claim);
  },

  checkpoint_durable() {
    if (this.pendingClaim) this.claim = this.pendingClaim;
    this.pendingClaim = null;
  },

  checkpoint_failed() {
    this.pendingClaim = null;
  },

  // What is neither pending nor on storage is gone. The picture keeps its place until the resume.
  crash() {
    this.crashed = true;
    this.calls = [];
    for (let at = 0; at < this.cells.length; at++) {
      const cell = this.cells[at];
      const state = cell & STATE;
      if (cell & DURABLE) this.cells[at] = cell & ~ABANDONED;
      else if (state !== PENDING && state !== ABSENT) this.cells[at] = LOST;
    }
    for (const nodes of this.barriers) {
      for (const node of nodes) {
        if (node.state !== PENDING && node.state !== CLAIMED) node.state = LOST;
      }
    }
    this.rowGroup.fill(WAITING);
    for (let row = 0; row < this.height; row++) {
      if (this.rowState[row] !== TOMBSTONE) this.rowState[row] = LIVE;
    }
    this.recount();
  },

  // The table holds exactly the cells that storage gave back.
  resume(event) {
    const { records, claim, dropped, skipped, incarnation } = event.more;
    if (Number.isInteger(records) && records >= 0) this.rows = Math.min(records, this.height);
    this.incarnation = Number.isInteger(incarnation) ? incarnation : this.incarnation + 1;
    Object.assign(this, { crashed: false, stopped: null, outcome: null, pendingClaim: null });
    this.claim = claimOf(this, claim);
    this.calls = [];
    this.rowGroup.fill(WAITING);
    this.rowState.fill(LIVE);
    this.tries.fill(0);
    for (let row = 0; row < this.height; row++) {
      for (let column = 0; column < this.width; column++) {
        const kept = row < this.claim[column] ? CLAIMED | DURABLE : PENDING;
        this.cells[row * this.width + column] = row < this.rows ? kept : ABSENT;
      }
    }
    for (const [start, stop] of ranges(dropped)) {
      for (let row = Math.max(start, 0); row < Math.min(stop, this.rows); row++) {
        this.rowState[row] = TOMBSTONE;
        this.cells.fill(DROPPED | DURABLE, row * this.width, (row + 1) * this.width);
      }
    }
    this.columns.forEach(({ name }, column) => {
      const marks = skipped && Object.hasOwn(skipped, name) ? ranges(skipped[name]) : [];
      for (const [start, stop] of marks) {
        for (let row = Math.max(start, 0); row < Math.min(stop, this.rows); row++) {
          this.cells[row * this.width + column] = SKIPPED | DURABLE;
        }
      }
      this.barriers[column].forEach((node, scope) => {
        const [start, stop] = this.reach(column, scope);
        Object.assign(node, newBarrier());
        if (stop > start && stop <= this.claim[column]) node.state = CLAIMED;
      });
    });
    this.recount();
  },

  stop(event) {
    this.stopped = String(event.more.reason ?? "no reason given");
  },

  end(event) {
    this.outcome = String(event.more.outcome ?? "no outcome given");
  },
};

/* ---- events in words */

function plural(count, word) {
  return `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`;
}

function seconds(t) {
  return typeof t === "number" ? `${+t.toFixed(6)} s` : "an unknown time";
}

function rowsInWords(start, stop) {
  if (start < 0) return "no rows";
  return stop === start + 1 ? `row ${start}` : `rows ${start}–${stop - 1}`;
}

function rangesInWords(value) {
  const parts = ranges(value).map(([a, b]) => (b === a + 1 ? `${a}` : `${a}–${b - 1}`));
  return parts.length ? parts.join(", ") : "none";
}

/* A claim in few words: one number if every column claims the same. */
function claimInWords(columns, claim) {
  const same = claim.every((rows) => rows === claim[0]);
  return same
    ? `${plural(claim[0], "row")} of every column`
    : columns.map(({ name }, at) => `${name} ${claim[at]}`).join(", ");
}

function nameOf(data, column) {
  return column < 0 ? "" : data.names[column];
}

function barrierInWords(name, scope) {
  return `barrier ${scope} of '${name}'`;
}

function nodeInWords(data, event) {
  const name = nameOf(data, event.column);
  if (event.scope >= 0) return barrierInWords(name, event.scope);
  if (event.start < 0) return name || "nothing";
  return event.stop === event.start + 1
    ? `${name}[${event.start}]`
    : `${name}[${event.start}:${event.stop}]`;
}

function failureInWords(data, event) {
  const { failure, until, attempt } = event.more;
  const final = isForGood(data, event, attempt ?? 1);
  const kind = failure === "backpressure" ? "back-pressure" : String(failure ?? "no kind given");
  const then = final ? "; for good"
    : typeof until === "number" ? `; may start again at ${seconds(until)}` : "";
  return `fails${attempt > 1 ? ` (attempt ${attempt})` : ""}: ${kind}${then}`;
}

const WORDS = {
  start(data, event) {
    const { attempt, reads, resource } = event.more;
    const parts = [`${nodeInWords(data, event)} starts`];
    if (attempt > 1) parts.push(`attempt ${attempt}`);
    if (reads) parts.push(`reads rows ${rangesInWords(reads)}`);
    if (resource) parts.push(`on ${resource}`);
    return parts.join(", ");
  },
  complete: (data, event) => `${nodeInWords(data, event)} completes`,
  emit: (data, event) => `${nodeInWords(data, event)} is given by its barrier`,
  fail: (data, event) => `${nodeInWords(data, event)} ${failureInWords(data, event)}`,
  cancel: (data, event) => `${nodeInWords(data, event)} is cancelled`,
  drop: (data, event) =>
    `${rowsInWords(event.start, event.stop)} dropped because of ${nameOf(data, event.column)}`,
  skip: (data, event) => `${nodeInWords(data, event)} is skipped`,
  admit: (data, event) => `the group of ${rowsInWords(event.start, event.stop)} is admitted`,
  retire: (data, event) => `the group of ${rowsInWords(event.start, event.stop)} retires`,
  durable: (data, event) => event.column < 0
    ? `${rowsInWords(event.start, event.stop)} durable in every column`
    : `${nodeInWords(data, event)} durable`,
  checkpoint_begin: (data, event, replay) =>
    `a claim is being written: ${claimInWords(data.columns, claimOf(replay, event.more.claim))}`,
  checkpoint_durable: () => "the claim is durable",
  checkpoint_failed: () => "the claim could not be written",
  crash: () => "crash: cells that are not durable are gone",
  resume(data, event, replay) {
    const { claim, dropped, records, keep } = event.more;
    const parts = [`resume from ${claimInWords(data.columns, claimOf(replay, claim))}`];
    if (ranges(dropped).length) parts.push(`dropped rows ${rangesInWords(dropped)}`);
    if (records !== undefined) parts.push(`the target is now ${records} rows`);
    if (keep) parts.push("keeping claimed rows of barriers that change");
    return parts.join("; ");
  },
  stop: (data, event) => `early stop: ${event.more.reason ?? "no reason given"}`,
  end: (data, event) => `the run ends: ${event.more.outcome ?? "no outcome given"}` +
    (event.more.reason ? ` (${event.more.reason})` : ""),
};

/* An event in one line. */
function describe(replay, event) {
  const { data } = replay;
  const words = Object.hasOwn(WORDS, event.kind)
    ? WORDS[event.kind](data, event, replay)
    : `${event.kind} ${nodeInWords(data, event)} (an event of no known kind)`;
  return event.more.inferred ? `${words} (inferred)` : words;
}
