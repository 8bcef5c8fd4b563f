"""``python -m cdc_bridge``: the same as the ``cdc-bridge`` command."""

from cdc_bridge.cli.app import main

if __name__ == "__main__":
    main()
