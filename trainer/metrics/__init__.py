"""Which numbers are written down?"""
