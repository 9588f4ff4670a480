"""Notifications: who is told what is wrong, what was pushed and deleted."""
