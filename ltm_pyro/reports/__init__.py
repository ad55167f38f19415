"""What a run is, or what two are beside one another, on a page that stands alone."""

from ltm_pyro.reports.making import report

__all__ = ["report"]
