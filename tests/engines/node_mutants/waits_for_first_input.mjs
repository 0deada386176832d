// A cell waits for the first of the columns that it needs, and not for the others.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  hasInputs(task) {
    const first = task.column.needs.slice(0, 1);
    return super.hasInputs({ ...task, column: { ...task.column, needs: first } });
  }
}

serve(Broken);
