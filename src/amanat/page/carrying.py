"""Does what the page asks about files: how far they have got, fetching them, and getting them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from amanat import media
from amanat.client.transcript import Position
from amanat.errors import BadArgument, NoFile, PictureTooLarge, RecordingTooLong, UnknownMessage
from amanat.media import voice
from amanat.page import protocol, records
from amanat.page.doors import MEDIA
from amanat.page.handing import name_of
from amanat.protocol.descriptor import unb64

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import ByteStream, FileView
    from amanat.errors import AmanatError
    from amanat.page.handing import Tickets


async def send(client: Client, offer: protocol.Offer, source: ByteStream) -> object:
    """Have a file sent that a page brings; the answer. Raises the errors of `Chat.send_file`, and
    of `amanat.media.picture` and `voice_note`."""
    chat = client.chat(bytes.fromhex(offer.chat))
    if offer.how == "look":
        data = await _whole(offer, source, media.MAX_FILE_BYTES, PictureTooLarge)
        return {"traces": (await media.traces(data))._asdict()}
    what: ByteStream | media.Picture | voice.VoiceNote = source
    if offer.how == "picture":
        data = await _whole(offer, source, media.MAX_FILE_BYTES, PictureTooLarge)
        what = await media.picture(data)
    elif offer.how == "voice":
        data = await _whole(offer, source, voice.MAX_RECORDING_BYTES, RecordingTooLong)
        what = await asyncio.to_thread(voice.voice_note, data, offer.waveform)
    number = await chat.send_file(
        what,
        text=offer.text,
        name=offer.name,
        reply_to=offer.reply_to or "",
        album=bytes.fromhex(offer.album),
    )
    return {"transfer": number}


async def _whole(
    offer: protocol.Offer, source: ByteStream, most: int, refusal: type[AmanatError]
) -> bytes:
    """All bytes of what is offered. Raises the refusal before it has read more than it may."""
    if offer.size > most:
        raise refusal
    pieces = list[bytes]()
    while piece := await source.read(most):
        pieces.append(piece)
    return b"".join(pieces)


def carry(client: Client, tickets: Tickets, ask: protocol.FileAsk) -> object:
    """Do it; the answer. Raises the errors of the SDK's calls."""
    match ask:
        case protocol.FileRules():
            if ask.auto_bytes is not None:
                client.files.set_auto_bytes(ask.auto_bytes)
            if ask.room_bytes is not None:
                client.files.set_room_bytes(ask.room_bytes)
            rules = client.files
            return {"auto_bytes": rules.auto_bytes, "room_bytes": rules.room_bytes}
        case protocol.Transfers():
            under_way = client.files.transfers(bytes.fromhex(ask.chat))
            return [records.transfer(one) for one in under_way]
        case protocol.Files():
            before, after = (one and Position.parse(one) for one in (ask.before, ask.after))
            chat = client.chat(bytes.fromhex(ask.chat))
            files = chat.files(
                before=before or None, after=after or None, many=ask.many, pictures=ask.pictures
            )
            return [records.message(one) for one in files]
        case protocol.Links():
            before = Position.parse(ask.before) if ask.before else None
            linked = client.chat(bytes.fromhex(ask.chat)).links(before=before, many=ask.many)
            return [records.message(one) for one in linked]
        case protocol.Carry():
            if client.files.transfer(ask.transfer) is not None:
                getattr(client.files, ask.what)(ask.transfer)
        case protocol.Fetch():
            relay = None if ask.relay is None else _relay(ask.relay)
            number = client.files.fetch(bytes.fromhex(ask.chat), ask.message, relay=relay)
            return {"transfer": number}
        case protocol.AskAgain():
            client.files.ask_again(bytes.fromhex(ask.chat), ask.message)
        case protocol.Played():
            client.files.played(bytes.fromhex(ask.chat), ask.message)
        case protocol.Ticket():
            gid = bytes.fromhex(ask.chat)
            found = file(client, gid, ask.message)
            address = MEDIA + tickets.give(gid, ask.message)
            return {"address": address, "size": found.size, "name": name_of(found)}
        case _:
            assert_never(ask)
    return None


def file(client: Client, gid: bytes, message: str) -> FileView:
    """The file of a message. Raises UnknownMessage, or NoFile if it is none."""
    found = client.chat(gid).message(message)
    if found.is_deleted:
        raise UnknownMessage
    if found.file is None:
        raise NoFile
    return found.file


def _relay(text: str) -> bytes:
    try:
        return unb64(text)
    except ValueError:
        raise BadArgument("that is no relay's key") from None
