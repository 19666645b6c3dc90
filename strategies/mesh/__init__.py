"""How do workers train together that each hold a part of one model?"""
