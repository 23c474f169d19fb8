"""Copies of models to and from this server: the target's side fetches and writes, the source's side sends."""
