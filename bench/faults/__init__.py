"""The fault bench: ordinary nights of a gateway, played on the real thing. `python -m bench.faults --help`.

row.py       what a row is, what a result is, what passing means
trial.py     the stage of one row: devices, broker, a line that harms, and the system under test
broker.py link.py gateway.py crash.py cloud.py disk.py clock.py month.py card.py
             the faults, one small function each, plain steps
rows.py      the table: every row with its function
peer.py      thingsboard-gateway as a system under test, with a counting subscriber in place of a cloud
report.py    faults.json and the table in bench/README.md
"""
