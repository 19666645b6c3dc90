"""What did the person type?"""
