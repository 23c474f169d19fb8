"""The central StableQueue: the registry of models and which server has which."""
