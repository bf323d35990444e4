"""Run the app with ``python -m rls_bids``."""

from rls_bids.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
