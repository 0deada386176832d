"""The reference engine: runs generators on the reference scheduler, and keeps rows durably."""
