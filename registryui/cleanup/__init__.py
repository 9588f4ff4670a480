"""WHAT GOES AWAY: deleting with undo, retention rules, collecting what nothing needs."""
