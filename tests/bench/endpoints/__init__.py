"""What many endpoints in one database cost, each of which wants the reservations of one restaurant.

measure.py   all of it, against one endpoint in the same run
running.py   one daemon: its start, idle, one change at a time, and once all endpoints have had a delivery
draining.py  a backlog spread over all endpoints; the same while some of them never respond
takeover.py  two daemons, one of which is killed
hosted.py    the database that they run on, and waiting for daemons
targets.py   what is to be reached
table.py     the table of it, a column for each number of endpoints
"""
