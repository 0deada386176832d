"""Was each step of a trace allowed, and if not, why? The checker, its explanations, a timeline."""

from cellspec.check.checker import Checker, CheckResult, Finding, check_file, expect_clauses

__all__ = ["CheckResult", "Checker", "Finding", "check_file", "expect_clauses"]
