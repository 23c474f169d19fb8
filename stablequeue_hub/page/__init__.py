"""Answers as the values of views."""
