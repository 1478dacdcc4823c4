"""What people look at: tables and run directories."""

from cleanse.report.run_directory import check_checkpoint, save_run
from cleanse.report.table import results_table

__all__ = ["check_checkpoint", "results_table", "save_run"]
