"""One file, or folder, for each kind of source."""
