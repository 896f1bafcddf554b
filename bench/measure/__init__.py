"""Measures Millrace beside what it is compared with, on one machine and in one run.

Processes, ports and Kafka come from tools/harness. Everything that counts records or speaks to
Kafka at speed is a C program of bench/ (bench-load, bench-progress, bench-read, bench-topics).

    cli.py        bench/run: options, which parts, in which order
    session.py    one run: its Kafka, its folders, the C programs, its processes
    usage.py      CPU time and memory of a process
    machine.py    what the figures were taken on
    servers.py    what takes POSTs: ingest-api, the floors, the FastAPI peer
    ingest.py     the contests among them
    refusals.py   what ingest-api refuses by itself
    jobs.py       enrich and window beside Kafka Streams
    peer.py       builds and starts the Kafka Streams jobs
    latency.py    from POST to SSE
    fanout.py     events to thousands of live streams, beside Nchan
    history.py    histories in PostgreSQL, written and read
    footprint.py  memory and start time of each service
    images.py     the same of each container image, and its size
    results.py    result files, their tables, and the block in README.md
"""
