"""The StableQueue tab and its routes."""
