"""A corpus's states as one HTML page that opens anywhere: :func:`write_report`."""

from fastmask.corpus.report.page import write_report
from fastmask.corpus.report.statistics import Record, Statistics

__all__ = ["Record", "Statistics", "write_report"]
