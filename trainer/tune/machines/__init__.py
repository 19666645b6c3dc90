"""How do several machines share one sweep?"""
