"""Runs Millrace for people and for tests, and recounts what it did.

Python's standard library only: scripts/demo has to work on a machine that has nothing but what
Debian's base image and scripts/deps bring. Nothing in here shares code with the services: the
recount in verify.py would be worthless if it inherited their mistakes.

    process.py   child processes that cannot outlive us
    ports.py     ports nobody else is using
    kafka.py     real Kafka (through scripts/kafka) or dev-broker
    platform.py  the services: start, readiness, kill, restart, stop in drain order
    ledger.py    what was sent and what was answered
    orders.py    makes orders, good and bad, and posts them by HTTP
    reader.py    what readers see: records through kcat, live events through SSE
    browser.py   browser tests that may have something done outside of the browser
    verify.py    the recount: ledger against read-committed output
    report.py    the recount as tables
    demo.py      scripts/demo
"""
