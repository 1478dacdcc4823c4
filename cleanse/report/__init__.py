"""What people look at: a summary in words, tables, charts and the web page."""

from cleanse.report.table import results_table

__all__ = ["results_table"]
