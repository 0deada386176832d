// What a barrier gives to each of more than two rows is stored in the row after.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  keep(task, row, value) {
    const shifted = task.reads.length > 2;
    const place = task.reads.indexOf(row);
    super.keep(task, shifted ? task.reads[(place + 1) % task.reads.length] : row, value);
  }
}

serve(Broken);
