// Cells of a row that was dropped still start.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  isOver(task) {
    return task.done || (task.column.scope_rows > 0 && super.isOver(task));
  }
}

serve(Broken);
