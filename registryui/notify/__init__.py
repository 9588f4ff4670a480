"""Notifications: tells webhooks and mail addresses what is wrong, and what was pushed and deleted.

    receivers.py   adds, changes and removes receivers
    conditions.py  rounds of the doctor ──► what began and what ended
    events.py      pushes and deletes of repositories
    messages.py    a message as JSON (CloudEvents) and as mail; pure
    deliveries.py  the queue: a row for each message and receiver, bounded; its log
    sending.py     the worker: what is due, retries
    webhook.py     one request: signature (Standard Webhooks), which addresses are refused
    mail.py        one mail

What is queued is a row, so it survives a restart. A message may be sent twice, after a crash; its
id is then the same.
"""
