"""Where do examples come from?"""
