"""Rows to what people read: tables, figures, the page of results."""
