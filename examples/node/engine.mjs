// A small engine that fills a table cell by cell, and speaks the line protocol of cellspec.
//
// It reads one JSON object a line and writes a line for each step that it takes; then it says
// `wait`. That is one turn. It needs no clock: the time is in the lines that it reads.
//
// Three parts, in this order: the lines, the folder in which rows are kept, and the engine.
// specs/protocol/README.md explains the protocol, examples/node/README.md this file.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

// The lines. The lines of a turn are written when the next line is read.

const said = [];
let unread = Buffer.alloc(0);

export function say(event, fields = {}) {
  said.push(JSON.stringify({ event, ...fields }) + "\n");
}

export function listen() {
  fs.writeSync(1, said.splice(0).join(""));
  while (!unread.includes("\n")) {
    const chunk = Buffer.alloc(65536);
    const size = fs.readSync(0, chunk);
    if (size === 0) process.exit(0); // The suite is gone.
    unread = Buffer.concat([unread, chunk.subarray(0, size)]);
  }
  const end = unread.indexOf("\n");
  const line = unread.toString("utf8", 0, end);
  unread = unread.subarray(end + 1);
  return JSON.parse(line);
}

// The folder may be changed only between `go` and the next line: a crash comes in between.
function step(name, change) {
  say("step", { name });
  listen();
  change();
}

// The folder. `table.jsonl` holds rows, a line each; `checkpoint.json` says how many of them count.

export class Store {
  constructor(folder) {
    this.table = path.join(folder, "table.jsonl");
    this.checkpoint = path.join(folder, "checkpoint.json");
    this.rows = 0; // These rows, from 0 on, are complete or dropped, and
    this.bytes = 0; // they take so many bytes of the table. The bytes behind them are rubbish.
  }

  // The rows that count: { row, values }, or { row, dropped } with the column that failed.
  load() {
    if (!fs.existsSync(this.checkpoint)) return [];
    Object.assign(this, JSON.parse(fs.readFileSync(this.checkpoint, "utf8")));
    const kept = fs.readFileSync(this.table).toString("utf8", 0, this.bytes);
    return kept.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  claimOf(rows, columns) {
    return Object.fromEntries(columns.map((name) => [name, rows]));
  }

  // Rows first, then the claim on them, and the claim in one step that a crash cannot halve.
  save(records, columns) {
    const text = records.map((record) => JSON.stringify(record) + "\n").join("");
    const claim = { rows: this.rows + records.length, bytes: this.bytes + Buffer.byteLength(text) };
    step("append rows", () => {
      const file = fs.openSync(this.table, fs.constants.O_RDWR | fs.constants.O_CREAT);
      fs.ftruncateSync(file, this.bytes);
      fs.writeSync(file, text, this.bytes);
      fs.fsyncSync(file);
      fs.closeSync(file);
    });
    say("durable", { rows: [this.rows, claim.rows] });
    say("checkpoint_begin", { claim: this.claimOf(claim.rows, columns) });
    step("write the checkpoint", () => {
      fs.writeFileSync(this.checkpoint + ".new", JSON.stringify(claim), { flush: true });
    });
    step("rename the checkpoint", () => fs.renameSync(this.checkpoint + ".new", this.checkpoint));
    say("checkpoint_durable");
    Object.assign(this, claim);
  }
}

// The engine. A task is one call: a cell, or a barrier over the rows of its scope.

export class Engine {
  constructor(run) {
    this.names = run.columns.map((column) => column.name);
    this.values = new Map(this.names.map((name) => [name, new Map()])); // column → row → value
    this.rowCount = run.rows;
    this.limits = run.limits;
    this.maxAttempts = run.failures.max_attempts;
    this.saveEvery = run.checkpoint.every_rows ?? Infinity;
    this.dropped = new Map(); // row → the column that failed
    this.running = new Map(); // name of a task → the task
    this.store = new Store(run.folder);
    if (run.life > 0) this.resume();
    this.kept = this.store.rows; // Rows before this one are final: their nodes do not run again.
    this.waiting = run.columns.flatMap((column) => this.tasksOf(column));
  }

  resume() {
    for (const { row, values, dropped } of this.store.load()) {
      if (dropped) this.dropped.set(row, dropped);
      else for (const name in values) this.values.get(name).set(row, values[name]);
    }
    const claim = this.store.claimOf(this.store.rows, this.names);
    say("resume", { claim, dropped: [...this.dropped.keys()].map((row) => [row, row + 1]) });
  }

  tasksOf(column) {
    const size = column.scope_rows || 1;
    const tasks = [];
    for (let start = 0; start < this.rowCount; start += size) {
      const stop = Math.min(start + size, this.rowCount);
      const rows = Array.from({ length: stop - start }, (_, offset) => start + offset);
      const place = column.scope_rows ? { scope: start / size } : { rows: start };
      const after = column.ordered ? tasks.at(-1) : undefined;
      tasks.push({ column, rows, place, after, attempt: 1, notBefore: 0, done: false });
    }
    return tasks;
  }

  nameOf = (column, place) => `${column}[${place.scope ?? place.rows}]`;

  // The tasks that may start.

  liveRows(task) {
    return task.rows.filter((row) => !this.dropped.has(row));
  }

  wantedRows(task) {
    return this.liveRows(task).filter((row) => row >= this.kept);
  }

  hasInputs(task) {
    const has = (row) => task.column.needs.every((need) => this.values.get(need).has(row));
    return this.liveRows(task).every(has);
  }

  // A barrier that runs is over when it ends, also if every row of it was dropped meanwhile.
  isOver(task) {
    const isRunning = task.column.scope_rows && task.reads;
    return task.done || !(isRunning || this.wantedRows(task).length);
  }

  // A dropped row hands its turn on: what counts is the row before it.
  isNext({ after }) {
    return !after || (this.isOver(after) && (this.liveRows(after).length || this.isNext(after)));
  }

  isReady(task, now) {
    return task.notBefore <= now && this.isNext(task) && this.hasInputs(task);
  }

  hasSlot({ column: { resource } }) {
    const users = [...this.running.values()].filter((task) => task.column.resource === resource);
    const workerFree = this.running.size < (this.limits.workers ?? Infinity);
    return workerFree && users.length < (this.limits.resources[resource] ?? Infinity);
  }

  // One turn: start all that may start, save what is due, and wait.

  turn(now) {
    for (const task of this.waiting) {
      if (this.isOver(task)) task.done = true;
      else if (!this.stopping && this.isReady(task, now) && this.hasSlot(task)) this.start(task);
    }
    this.waiting = this.waiting.filter((task) => !task.done && !task.reads);
    const over = this.running.size === 0 && (this.stopping || this.waiting.length === 0);
    this.saveIfDue(over);
    if (over) return say("end", { outcome: this.waiting.length ? "interrupted" : "success" });
    const times = this.waiting.map((task) => task.notBefore).filter((time) => time > now);
    say("wait", times.length ? { until: Math.min(...times) } : {});
  }

  start(task) {
    const { column, place, attempt } = task;
    task.reads = this.liveRows(task);
    const inputs = task.reads.map((row) =>
      Object.fromEntries(column.needs.map((need) => [need, this.values.get(need).get(row)])),
    );
    const given = column.scope_rows
      ? { reads: task.reads.map((row) => [row, row + 1]), inputs }
      : { inputs: inputs[0] };
    this.running.set(this.nameOf(column.name, place), task);
    say("start", { column: column.name, ...place, attempt, ...given });
  }

  saveIfDue(over) {
    let stop = this.store.rows;
    while (stop < this.rowCount && this.isResolved(stop)) stop += 1;
    const rows = Array.from({ length: stop - this.store.rows }, (_, n) => this.store.rows + n);
    if (rows.length >= (over ? 1 : this.saveEvery)) {
      this.store.save(rows.map((row) => this.record(row)), this.names);
    }
  }

  isResolved(row) {
    return this.dropped.has(row) || [...this.values.values()].every((cells) => cells.has(row));
  }

  record(row) {
    if (this.dropped.has(row)) return { row, dropped: this.dropped.get(row) };
    const cells = [...this.values].map(([name, values]) => [name, values.get(row)]);
    return { row, values: Object.fromEntries(cells) };
  }

  // The ends of calls.

  take(line) {
    const name = this.nameOf(line.column, line);
    const task = this.running.get(name);
    this.running.delete(name);
    return task;
  }

  complete(line) {
    const task = this.running.get(this.nameOf(line.column, line));
    const values = task.column.scope_rows ? line.values : [line.value];
    const isRejected = (row) => line.rejected?.some(([start, stop]) => start <= row && row < stop);
    const kept = task.reads.filter((row) => !isRejected(row));
    const isOdd = task.column.scope_rows && values.length !== kept.length;
    if (isOdd) return this.fail({ ...line, failure: "permanent" });
    this.take(line).done = true;
    kept.forEach((row, index) => this.keep(task, row, values[index]));
    for (const row of task.reads.filter(isRejected)) this.drop(row, line.column, "filtered");
  }

  keep(task, row, value) {
    if (row >= this.kept) this.values.get(task.column.name).set(row, value);
  }

  fail(line) {
    const task = this.take(line);
    delete task.reads;
    if (line.failure === "retryable") task.attempt += 1;
    if (line.failure === "permanent" || task.attempt > this.maxAttempts) {
      for (const row of this.wantedRows(task)) this.drop(row, line.column);
    } else if (!this.isOver(task)) {
      task.notBefore = line.t + (line.retry_after ?? 0.5);
      say("cooling", { column: line.column, ...task.place, until: task.notBefore });
      this.waiting.push(task);
    }
  }

  drop(row, column, cause = "failed") {
    if (this.dropped.has(row)) return;
    this.dropped.set(row, column);
    say("drop", { column, rows: row, cause });
  }
}

function sayTable(folder) {
  const records = new Store(folder).load();
  const dropped = records.filter((record) => record.dropped).map((record) => record.row);
  say("table", { rows: records.filter((record) => !record.dropped), dropped });
}

// The capabilities of this engine. The suite judges it by these alone.
export const CAPABILITIES = ["core", "batch_barriers", "ordered", "retries", "drops", "resume"];
CAPABILITIES.push("filters", "interrupts", "storage_steps", "work_conserving");

export function serve(EngineClass, capabilities = CAPABILITIES) {
  say("hello", { protocol: 2, name: "cells-on-node", version: "1", capabilities });
  for (let engine; ; ) {
    const line = listen();
    if (line.event === "read") sayTable(line.folder);
    if (line.event === "run") engine = new EngineClass(line);
    if (line.event === "complete") engine.complete(line);
    if (line.event === "fail") engine.fail(line);
    if (line.event === "stop_requested") engine.stopping = true;
    if (line.event !== "read") engine.turn(line.t);
  }
}

if (import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) serve(Engine);
