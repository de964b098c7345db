"""Pages about runs."""

from guerdon.serve.report import page, write_report

__all__ = ["page", "write_report"]
