"""The bridge beside its peers: other ways to post a changed reservation, each as its documentation has it.

``make bench-peers`` makes ``.venv-peers``, runs them all by turns and writes the table and the figures to
``bench-results``. They post to the same receiver, over HTTPS with the certificate verified, up to 64 requests at once.

    peer.py           one of them: how it captures, how its worker is run, what it does and does not do
    naive.py, on_procrastinate.py, on_pgqueuer.py, on_debezium.py
                      the peers, each with the pages that it follows; workers/ has their programs
    bridge.py         the bridge, in the same role
    environment.py    .venv-peers, the versions in it, and who can take part on this machine
    place.py          a database with a capture, a receiver, and the worker between them
    measures.py       writers, latency, drain, kill -9
    account.py        what was lost, repeated and left lying
    results.py        the figures, written and read
    table.py          the table, on a terminal and in README
"""
