from amanat.client.events import Event as Event
from amanat.client.sdk.backups import restore as restore
from amanat.client.sdk.chat import Chat as Chat
from amanat.client.sdk.client import Client as Client
from amanat.client.sdk.views import Contact as Contact
from amanat.client.sdk.views import Message as Message
from amanat.client.vault import Unlock as Unlock
from amanat.client.vault import opens_with as opens_with
from amanat.client.wiping import wipe as wipe

__version__: str
__all__ = [
    "Chat",
    "Client",
    "Contact",
    "Event",
    "Message",
    "Unlock",
    "opens_with",
    "restore",
    "wipe",
]
