"""What client and hub share: values, messages and views. It imports nothing else of either side."""
