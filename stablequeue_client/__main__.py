"""``python -m stablequeue_client`` is ``stablequeue``."""

from stablequeue_client.cli import entry_point

if __name__ == "__main__":
    entry_point()
