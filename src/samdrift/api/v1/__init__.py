"""The administrative API: organisations, keys, people, usage, the document and its revisions, the audit trail.

One file per resource. Each says what it needs of the rest of the program as a protocol, and the runtime fills it in; so nothing
here knows the ledger, and another resource joins by a file and a line in `application.py`. Every route names the permission that
it needs (`guarding.Needs`); an app with a route that names none is not built. It never shows content: there is none.
"""
