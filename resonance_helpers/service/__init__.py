"""Lesson 09: one base model in memory, one adapter for each patient, over HTTP.

``start`` runs the service as a process of its own and is light to import; ``serve`` is that process. From the outside
in: ``connections`` (how many, and how long they may say nothing), ``guard`` (the key, before anything of a body is
read), ``app`` (the HTTP routes), ``decoding`` (recordings to samples, in processes of their own), ``engine`` (one
inference thread behind a bounded queue), ``registry`` (whose adapter), ``voices`` (the model itself). Beside them:
``certificates`` (https), ``page_routes`` (the phone page) and ``links`` (the links to it).
"""

from .certificates import Certificate
from .process import LoggedRequest, ServiceProcess, start
from .server import serve

__all__ = ["Certificate", "LoggedRequest", "ServiceProcess", "serve", "start"]
