"""Sentences and values that commands of several topics show."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from amanat.cli import carrying
from amanat.display import block, shown
from amanat.errors import BY_CODE, HopAway, IdentityChanged, NameChanged, ProxyAway
from amanat.protocol.days import date_of

if TYPE_CHECKING:
    from amanat.client.sdk.backups import BackupStatus
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import FileView
    from amanat.client.sdk.imports import ImportedMessage
    from amanat.client.sdk.views import (
        Announced,
        ConversationView,
        GroupOffer,
        Message,
        Status,
        VisitorView,
        WarningView,
    )
    from amanat.display import Out

_ASK_FIRST = "you have not shown yet that you noted the recovery phrase: `amanat backup phrase`"
_ASK_AGAIN = "show once more that you have the recovery phrase: `amanat backup phrase`"


def clock(unix_ms: int) -> str:
    """A moment as text, in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_ms / 1000))


def file_text(file: FileView) -> str:
    """A file, among the words of a line."""
    name = shown(file.name) if file.name else f"a {file.kind}"
    if file.kind == "voice":
        name = f"a voice note of {file.seconds // 60}:{file.seconds % 60:02}"
    return f"[{name}, {carrying.size(file.size)}]"


def file_line(message: Message, file: FileView) -> str:
    """A line about the file of a message: where it is, and until when it rests at a relay."""
    rests = f"; rests in {file.region} until {date_of(file.until)}" if file.until else ""
    here = "here" if file.is_here else "preview here" if file.has_outline else "not fetched"
    by = f"{clock(message.sent_at)}  {message.id[:8]}  {shown(message.sender)}"
    return f"{by}: {file_text(file)} {here}{rests}"


def day(unix_ms: int) -> str:
    """The day of a moment, in this machine's time zone."""
    return time.strftime("%Y-%m-%d", time.localtime(unix_ms / 1000))


def backup_troubles(found: BackupStatus) -> list[str]:
    """The lines about backups that need the person: none could be made, the last one is old, or
    words of the phrase are asked for."""
    return [
        *([f"the newest backup failed: {BY_CODE[found.error].text}"] if found.error else []),
        *(["the last backup is more than three days old"] if found.is_late else []),
        *([_ASK_AGAIN if found.is_noted else _ASK_FIRST] if found.is_asked else []),
    ]


async def warn(client: Client, out: Out) -> None:
    """Show warnings, once."""
    warnings = client.status().warnings
    for one in warnings:
        out.note(f"warning: {one.code}: {_warning_text(one)}")
    whole = await out.shown()
    if whole.notes and warnings == client.status().warnings:
        client.clear_warnings()


def _warning_text(one: WarningView) -> str:
    about = [shown(each) for each in (one.whom, one.detail) if each]
    if one.code == IdentityChanged.code:
        about = [f"{shown(one.whom)} is not the {shown(one.detail)} you know"]
    elif one.code == NameChanged.code:
        about = [f"{shown(one.whom)} was {shown(one.detail)}"]
    elif one.conversation:
        about.append(f"in {shown(one.conversation)}")
    about += [f"{one.many} times"] if one.many > 1 else []
    return BY_CODE[one.code].text + (f" ({', '.join(about)})" if about else "")


_EVENTS = {
    "create_group": "made the group",
    "create_channel": "made the channel",
    "edit_group_title": "renamed it to",
    "edit_group_photo": "changed its picture",
    "delete_group_photo": "removed its picture",
    "invite_members": "added",
    "remove_members": "removed",
    "join_group_by_link": "joined by a link",
    "join_group_by_request": "joined on request",
    "pin_message": "pinned a message",
    "phone_call": "called",
    "migrate_to_supergroup": "made it a supergroup",
    "migrate_from_group": "made it from the group",
    "topic_created": "began the topic",
    "topic_edit": "changed the topic",
}
"""Events of imported chats in words."""


def imported_text(one: ImportedMessage) -> str:
    """Lines about an imported message: the first says when, where and by whom, as the export has
    it."""
    event, _, rest = one.extra.partition(" ")
    beside = f"[{one.kind}{f' {shown(one.extra)}' if one.extra else ''}]"
    if one.kind == "service":
        words = f"{_EVENTS.get(event, shown(event))} {shown(rest) if rest else ''}".strip()
        words = words if one.sender else shown(one.extra)
    else:
        words = block(one.text) if one.text else ""
        reactions = one.extra if one.kind == "text" else ""
        words += f"  ({shown(reactions)})" if reactions else ""
        words = f"{beside} {words}".strip() if one.kind != "text" else words
    forwarded = f" (from {shown(one.forwarded_from)})" if one.forwarded_from else ""
    return (
        f"{clock(one.at)}  {shown(one.sender or one.title)} in {shown(one.title)}"
        f" [imported, unverified]{forwarded}: {words}{'  (edited)' if one.edited_at else ''}"
    )


def offer_text(one: GroupOffer) -> str:
    """A sentence about an offer to join a group."""
    return (
        f"{one.id}  {shown(one.by_name)} asks you into what they call {shown(one.name)};"
        f" until {clock(one.expires_at)}"
    )


def visitor_text(one: VisitorView) -> str:
    """Lines about somebody who has knocked and waits: the first says who and until when, the others
    are their greeting."""
    return (
        f"{one.id}  {shown(one.name)} wants to meet you;"
        f"{' you have blocked them before;' if one.is_blocked else ''}"
        f" until {clock(one.expires_at)}" + (f"\n    {block(one.greeting)}" if one.greeting else "")
    )


def place(view: ConversationView) -> str:
    """A sentence on where a conversation's data rests, and so under whose law."""
    held = f", but for the words of {', '.join(map(shown, view.held_by))}, held at their home"
    return (
        f"{view.outbound_why}; the words of others to you in {view.inbound_region}"
        f"{held if view.held_by else ''}; the list of its members in {view.region}"
    )


_OUTBOUND = {
    "": "your words rest with the people to whom you say them",
    "person": "your words to people of other regions are held in {region}, and fetched there",
    "relay": "your relay holds your words to people of other regions in {region}",
}


def rest_text(status: Status) -> str:
    """Lines on where the data of a person rests."""
    allowed = status.allowed_regions
    lines = [
        f"home: {status.relay}{_reached(status.place)}",
        _law("messages to you rest", status.region, status.operator),
    ]
    if status.fallback:
        lines += [
            f"fallback: {status.fallback}{_reached(status.fallback_place)}",
            _law("while the home is away", status.fallback_region, status.fallback_operator),
        ]
    lines += [f"allowed regions: {'any' if allowed is None else ', '.join(allowed)}"]
    lines += ["home and fallback must be in one region"] if status.is_strict else []
    lines += [_OUTBOUND[status.outbound_by].format(region=status.region)]
    lines += [_move_text(one) for one in status.moves]
    for former in status.former:
        state = "and cannot be reached" if former.is_away else "and is still read"
        lines.append(f"left on {day(former.left_at)} {state}: {former.relay} in {former.region}")
    lines += [f"may not know yet where you are: {shown(name)}" for name in status.unaware]
    lines += [
        f"a relay you have left still orders the changes of members of {shown(name)}"
        for name in status.left_behind
    ]
    lines += [
        f"nobody can answer the invite of {day(made_at)} any longer: make another"
        for made_at in status.lost_invites
    ]
    lines += [
        f"the answer of {shown(name)} to your knock cannot reach you: ask for another invite"
        for name in status.lost_knocks
    ]
    return "".join(f"{line}\n" for line in lines)


def _move_text(one: Announced) -> str:
    follows = (
        "your client follows, because you allow that region"
        if one.is_allowed
        else "you do not allow that region: your words will be held; leave with `amanat exit`, or"
        " allow it with `amanat home --allow-regions`"
    )
    reason = f" ({shown(one.reason)})" if one.reason else ""
    return (
        f"MOVES on {date_of(one.on)}{reason}: everything at {one.relay} goes to {one.region};"
        f" {follows}. If you leave by {date_of(one.decide_by)}, nothing of yours will remain there"
    )


def _reached(place: str) -> str:
    return f" (found at {place})" if place else ""


def _law(what: str, region: str, operator: str) -> str:
    who = f", with {shown(operator)}" if operator else ""
    return f"{what} in {region}, under the law there{who}"


def proxy(address: str) -> str:
    """A sentence about a proxy; empty if there is none."""
    return f"proxy: {address}; relays see its network address in place of yours" if address else ""


def ways(status: Status) -> str:
    """Lines on the ways by which requests go, and the relays that see our network address."""
    lines = [f"hop: {status.hop}"] if status.hop else [f"no hop: {status.why}"]
    lines += [f"{HopAway.text}: {HopAway.hint}"] if status.is_hop_away else []
    lines += [f"sees your network address now: {relay}" for relay in status.exposed]
    lines += [proxy(status.proxy)] if status.proxy else []
    lines += [f"{ProxyAway.text}: {ProxyAway.hint}"] if status.is_proxy_away else []
    return "".join(f"{line}\n" for line in lines)
