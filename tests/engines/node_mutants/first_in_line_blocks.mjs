// If the first call in line has no slot, those behind it are not looked at.

import { Engine, serve } from "../../../examples/node/engine.mjs";

class Broken extends Engine {
  turn(now) {
    this.blocked = false;
    super.turn(now);
  }

  hasSlot(task) {
    this.blocked ||= !super.hasSlot(task);
    return !this.blocked;
  }
}

serve(Broken);
