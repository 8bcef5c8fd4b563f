"""The demo: a whole bridge on this machine, used, broken and counted.

PostgreSQL is a throw-away server, the receiver a real HTTPS server with a certificate of its own CA, the
daemon a process of its own, so what is shown is what is shipped. Nothing is left behind.

    stage.py      starts and stops the parts
    bookings.py   plays e-Res: makes, changes and cancels bookings, and remembers what it committed
    receiver.py   plays the till: checks header, signature and schema, prints a line a call
    story.py      what happens, act by act
    tally.py      compares what was committed with what arrived
"""
