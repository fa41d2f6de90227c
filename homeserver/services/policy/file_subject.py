"""A file as rules see it, when it is uploaded or has been fetched: no event is there to look at."""

from __future__ import annotations

from homeserver.services.media_facts import MediaSubject
from homeserver.services.policy.conditions import Aspect
from homeserver.services.policy.subject import Subject


def file_subject(file: MediaSubject) -> Subject:
    """The subject; ``known`` names what can be told without the event that the file came with."""
    subject = Subject(
        file.direction, file.origin, file.uploader or "", "", {}, "", media=(file.facts,)
    )
    subject.known = Aspect.MEDIA | Aspect.SERVER
    if file.direction == "in":  # what is uploaded here may stay here or leave
        subject.known |= Aspect.DIRECTION
    if file.uploader is not None:
        subject.known |= Aspect.SENDER
    return subject
