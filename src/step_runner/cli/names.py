"""The names of the commands, each with a short description."""

from __future__ import annotations

SERVER = {
    "serve": "Serve the API on a unix socket",
    "proxy": "Pass bytes between stdin, stdout and a server's socket",
    "bootstrap": "Copy this program to another place",
}

COMMANDS = {
    "run": "Run a function on this machine",
    "report": "Make an HTML page from a report",
    "check": "Find mistakes in step files",
    "completion": "Print the completion script of a shell",
    "schema": "Print the JSON Schema of step files",
    "ci": "Run the steps of a CI job's variable STEPS",
    **SERVER,
    "start": "Start a job on a server",
    "jobs": "List the jobs of a server",
    "logs": "Print the log of a job",
    "cancel": "Ask a job to stop gracefully",
    "close": "Stop a job, and remove its log and files",
}
"""Each is `command` in the module of its name in this package."""
