// Ordered columns run in any order.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  tasksOf(column) {
    return super.tasksOf({ ...column, ordered: false });
  }
}

serve(Broken);
