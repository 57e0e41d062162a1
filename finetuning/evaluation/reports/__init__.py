"""Reports: what is on disk as tables, figures and pages."""
