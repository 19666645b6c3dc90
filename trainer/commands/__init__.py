"""What does each verb do?"""
