"""What happens, told to those who may know it: live, and again from any position.

A commit of the log makes one :class:`~.updates.Update` per record, serialised once, and hands it to
the subscriptions of those whom it reaches (:mod:`.feed`).  Who comes back with a position gets the
same updates from the database (:mod:`.replay`).  Nothing here speaks HTTP.
"""
