"""The lifespans of an application, its routers and the applications that they mount.

- ``own``: the lifespan functions of one router.
- ``mounted``: find the applications below a router.
- ``foreign``: the lifespan of an app that is not of spica.
- ``run``: start and end all of these for the server.
"""
