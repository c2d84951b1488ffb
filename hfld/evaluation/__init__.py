"""Edits to numbers: judges, quantities, matched strength, intervals."""
