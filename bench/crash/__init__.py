"""Crashes on purpose: the gateway killed, its power cut, its files damaged, and the cloud killed, at seeded points.

    run_kill_points    bench/crash/kill.py      kill -9 of the whole gateway, at hooks named by phase and by timer
    run_power_cuts     bench/crash/cut.py       power cut over a recorded trace of writes and syncs
    run_cloud_kills    bench/crash/cloud.py     kill -9 of the ingest process
    run_record_cuts    bench/crash/record_cut.py   the same of the cloud's database
    run_corruptions    bench/crash/corrupt.py   flipped bits and cut-off files

Each takes (count, seed) and gives one `PointResult` per point (bench/crash/result.py). One point again, alone:

    python -m bench.crash kill --seed 7 --point 123

The tests run short forms of the same functions, the fault bench long ones.
"""
