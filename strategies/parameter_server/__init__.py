"""How do workers train through parameter servers?"""
