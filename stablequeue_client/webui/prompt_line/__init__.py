"""The line under Generate, and the marks on the model cards."""
