"""The plots of a sweep."""
