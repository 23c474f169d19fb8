"""The extension's options and where their values come from."""
