"""How is a trained model taken away, and how does it answer?"""
