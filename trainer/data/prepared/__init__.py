"""Sources that were prepared: columns on disk, and a manifest that says what they are."""
