"""What is trained, and how a run goes from start to report."""

__version__ = "0.2.0"
