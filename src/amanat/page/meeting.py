"""Does what the page asks about people: invites, visitors, contacts, offers and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from amanat.page import protocol, records

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client


def invite(client: Client, ask: protocol.InviteAsk) -> object:
    """Do what is about invites; the answer. Raises the errors of the SDK's calls."""
    match ask:
        case protocol.Invite(life_s=life_s):
            link = client.invite() if life_s is None else client.invite(life_s)
            return {"link": link, "code": records.code(link), **client.invites()[-1].as_json()}
        case protocol.Invites():
            return [one.as_json() for one in client.invites()]
        case protocol.WithdrawInvite():
            client.withdraw_invite(ask.invite)
        case protocol.Accept():
            return {"inviter": client.accept(ask.link, ask.greeting)}
        case _:
            assert_never(ask)
    return None


def meet(client: Client, ask: protocol.PeopleAsk) -> object:  # a table
    """Do it; the answer. Raises the errors of the SDK's calls."""
    match ask:
        case protocol.CallMe():
            client.rename(ask.name)
        case protocol.Notes():
            return {"chat": client.notes().gid.hex()}
        case protocol.SafetyNumber():
            return {"number": client.contact(ask.contact).safety_number}
        case protocol.Verify():
            client.contact(ask.contact).set_verified(is_verified=ask.is_verified)
        case protocol.Block():
            contact = client.contact(ask.contact)
            if ask.is_blocked:
                contact.block()
            else:
                contact.unblock()
        case protocol.RemoveContact():
            client.contact(ask.contact).remove()
        case _:
            assert_never(ask)
    return None


def answer(client: Client, ask: protocol.AnswerAsk) -> object:
    """Do what the person answers to people, or chooses about all of them. Raises the errors of the
    SDK's calls."""
    match ask:
        case protocol.Knocks():
            client.visitors.set_knocks(ask.knocks)
        case protocol.LetIn():
            client.visitors.let_in(ask.visitor)
        case protocol.TurnAway():
            client.visitors.turn_away(ask.visitor)
        case protocol.Adds():
            client.offers.set_adds(ask.adds)
        case protocol.AcceptOffer():
            client.offers.accept(ask.offer)
        case protocol.DeclineOffer():
            client.offers.decline(ask.offer, is_blocked=ask.is_blocked)
        case protocol.ReadMarks():
            client.read_marks.tell(are_told=ask.are_told)
        case _:
            assert_never(ask)
    return records.people(client)


def gather(client: Client, ask: protocol.GroupAsk) -> object:
    """Change a group; the answer. Raises the errors of the SDK's calls."""
    if isinstance(ask, protocol.CreateGroup):
        return {"chat": client.create_group(ask.name, ask.people).gid.hex()}
    chat = client.chat(bytes.fromhex(ask.chat))
    match ask:
        case protocol.Add():
            chat.add(ask.people)
        case protocol.Remove():
            chat.remove(ask.person)
        case protocol.Rename():
            chat.rename(ask.name)
        case protocol.Admin():
            chat.set_admin(ask.person, is_admin=ask.is_admin)
        case protocol.Roles():
            rights = ("may_add", "may_remove", "may_rename")
            chat.set_roles({one: getattr(ask, one) for one in rights})
        case protocol.Leave():
            if ask.is_blocked:
                chat.leave_and_block()
            else:
                chat.leave()
        case protocol.Rejoin():
            chat.rejoin(ask.helper)
        case _:
            assert_never(ask)
    return records.details(client, chat)
