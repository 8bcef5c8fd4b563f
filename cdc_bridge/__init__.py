"""A change-data-capture bridge from the e-Res reservations database to an EPOS system's HTTPS endpoint.

The steps, and the package that owns each:

    trigger -> change log             sql/ (runs inside the e-Res database)
    wake-up -> read batch             cdc_bridge.capture
    load rows -> build payload        cdc_bridge.payload
    deliver -> acknowledge            cdc_bridge.delivery

``cdc_bridge.daemon`` puts them together, ``cdc_bridge.web`` shows how it goes, ``cdc_bridge.cli`` is what a person
types, and ``cdc_bridge.operations`` holds what is done to a bridge rather than by it: installing and checking it, its
service, its endpoints, calls made once more, the demo. ``cdc_bridge.vendor.contract`` is what an EPOS vendor gets: schema,
examples, guide. ``share/`` is for the machine that it runs on: the unit of systemd and the man page.
"""

__version__ = "0.1.0"
