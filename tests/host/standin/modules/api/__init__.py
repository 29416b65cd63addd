"""Plays `modules.api`."""
