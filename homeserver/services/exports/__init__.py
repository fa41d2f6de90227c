"""Exports of one's data: everything that this instance has of a user, as one ZIP file.

:mod:`jobs` queues and builds them one after the other, :mod:`archive` writes the file, and
:mod:`account`, :mod:`rooms` and :mod:`media` say what is in it.
"""
