"""What keeps any host agent alive: settings, logs, tasks, health, retry, reconciliation.

Knows no table and no document.
"""
