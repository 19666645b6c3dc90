"""Where does a run live?"""
