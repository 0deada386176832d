"""The state of a run: of each cell and barrier node, with trackers and checkpoints."""
