"""What did the user type? `parser.py` reads the command line; `options.py` documents every flag."""
