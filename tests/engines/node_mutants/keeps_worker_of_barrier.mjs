// The worker of a barrier is never free again: when all of them are gone the engine waits for ever.
// It does not claim to use its workers well, so what is found is that it stands still.

import { CLAIMS, Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  take(line) {
    const task = super.take(line);
    if (task.column.scope_rows && this.limits.workers) this.limits.workers -= 1;
    return task;
  }
}

serve(Broken, CLAIMS.filter((claim) => claim !== "work_conserving"));
