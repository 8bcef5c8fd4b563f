"""The benchmark: what the bridge costs e-Res's writers, and how fast it delivers.

Everything is measured against a reference in the same run, by turns, several times, as machines differ and are noisy.
``make bench`` runs it all and ``make bench-quick`` the same in short; the table, the raw figures and the plots are
in the folder ``bench-results``.

    stage.py       a PostgreSQL as in production, databases with an example e-Res, a receiver, daemons
    receiver.py    a receiver that notes arrivals, and responds late or never; nginx where only the rate counts
    reference.py   what the bridge is measured against: a bare HTTP client, a bare LISTEN and POST
    contenders.py  those who write by turns, each with a capture and a daemon beside it; sleeper.py never wakes
    statements.py  what capture costs one statement
    writers.py     what capture costs those who write one after the other, one or many at once
    latency.py     from the commit to the request
    drains.py      how fast a backlog is delivered
    upkeep.py      what the daemon does when it has nothing to do, and what the whole path writes
    growth.py      how large change log and delivery log become, and that they stay so
    dashboard.py   what an open dashboard costs
    pages.py       how fast its pages are served; hosted_log.py fills the logs that they are served from
    endpoints/     what many endpoints cost, of which each change is wanted by one
    peers/         the bridge beside other ways to post a change, a run of its own (``make bench-peers``)
    scale.py       how much is measured; usage.py and machine.py tell what it took, and on what
    figures.py     medians, spreads and goals; report.py, cost.py and plots.py show them, publishing.py in the READMEs
"""
