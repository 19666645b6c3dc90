"""Which kinds of bucket are there? One module for each, named like its scheme."""
