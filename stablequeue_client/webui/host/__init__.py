"""Everything that differs between WebUIs: the only room that imports the host."""
