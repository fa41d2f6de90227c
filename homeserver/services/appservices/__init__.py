"""Application services: bridges and bots that act for many users, and are told what happens.

Spec: application service API.  See ``docs/application-services.md``.
"""
