"""The soak test: many endpoints, writers, outages and kills for half an hour, and then an account of it.

``make soak`` runs it; ``python -m tests.soak --help`` tells its options. The seed that it prints repeats what it breaks
and when; what the writers, the daemons and the machine make of that differs.

    plan.py      what breaks, and when: endpoints, daemons, PostgreSQL
    course.py    the run: PostgreSQL, two daemons, the receiver, and the plan carried out
    daemons.py   the two daemons, killed and started again; their memory
    writers.py   those who write reservations
    receiver.py  the receiver of all endpoints, a process of its own; endpoint.py is its handle
    accepted.py  what it accepted, checked as it arrives and kept in little memory
    verdict.py   what is wrong in the end, and the report
"""
