"""The development receiver behind ``cdc-bridge receive`` and the demo."""
