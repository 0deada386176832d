"""What the evidence of a run says: row by row, clause by clause, and in the end."""
