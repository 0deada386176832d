// The worker of a barrier is never free again: when all of them are gone the engine waits for ever.
// It lacks the capability work_conserving, so the suite finds that it stands still.

import { CAPABILITIES, Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  take(line) {
    const task = super.take(line);
    if (task.column.scope_rows && this.limits.workers) this.limits.workers -= 1;
    return task;
  }
}

serve(Broken, CAPABILITIES.filter((name) => name !== "work_conserving"));
