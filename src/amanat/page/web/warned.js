/** What is said of the warnings that the client keeps for the person, by their codes. */

import { language } from "./words.js";

/** @type {Record<string, string>} */
const english = {
  other: "Something was not as it should be, and your client refused it ({code}).",
  unread:
    "Something arrived that could not be read. It may be damaged or false, and was thrown away.",
  refused: "The relay refused something your client gave it. Your client goes on without it.",
  "invite-used":
    "Somebody else used the invite before you, or it was withdrawn. Ask for a new one.",
  "invite-expired": "You knocked, and nobody answered in time. Ask for a new invite.",
  "invalid-welcome":
    "You were let in somewhere, but the way in was damaged or came too late. Ask to be added again.",
  "identity-changed":
    "Somebody has a name like one of your contacts', and is somebody else. Compare safety numbers before you trust them.",
  "not-admin": "Somebody tried something in the group that only an admin may do. It was ignored.",
  "not-a-member": "Somebody offered you a way back into a conversation, and it did not fit.",
  "relay-lied":
    "A relay left out or changed something. It contradicts what it told you before: think of leaving it.",
  "relay-doubted":
    "A person says that a relay showed them something different from what it showed you. One of the two lies.",
  "relay-key-changed":
    "A relay answered with another key than its own. Somebody may stand between you and it. Nothing was sent.",
  "ledger-rewritten":
    "A relay has rewritten its public record, or restored an old copy. Ask its operator.",
  "move-announced":
    "A relay of yours has announced that everything there moves. You can stay or leave.",
  "moved-away":
    "A relay's data has moved to a region you have not allowed. What you say waits until you allow it or leave.",
  "label-taken":
    "Somebody put something else on the relay in the place of what you sent. Your client sends it again.",
  "group-vouched":
    "You were away from a group, and only one person vouches for what happened. Look at who is in it.",
  "broken-chain":
    "Somebody said two different things at one place. Their data was copied and used twice, or their program lies. Ask them.",
  "heard-otherwise":
    "A person was told something different from what you were told. One of them lies, or a program does.",
  "copied-vault": "Another copy of your profile was used after this one. Use only one of them.",
  "message-lost":
    "A message to you is lost: its sender no longer has it. Ask them to write it again.",
  "vault-damaged":
    "The file with everything you have is damaged. Take a copy of it before you go on.",
  "engine-failed": "A part of the program failed and was stopped before it could do harm.",
};

/** @type {Record<string, string>} */
const persian = {
  other: "چیزی چنان که باید نبود و برنامه آن را نپذیرفت ({code}).",
  unread: "چیزی رسید که خواندنی نبود. شاید آسیب دیده یا ساختگی بود و دور انداخته شد.",
  refused: "رله چیزی را که برنامه به آن داد نپذیرفت. برنامه بی آن ادامه می‌دهد.",
  "invite-used": "پیش از شما کس دیگری دعوت را به کار برد، یا آن را پس گرفتند. دعوت تازه‌ای بخواهید.",
  "invite-expired": "در زدید و کسی به‌موقع پاسخ نداد. دعوت تازه‌ای بخواهید.",
  "invalid-welcome":
    "شما را به جایی راه دادند، اما راه ورود آسیب دیده بود یا دیر رسید. بخواهید دوباره اضافه‌تان کنند.",
  "identity-changed":
    "کسی نامی مانند نام یکی از مخاطبان شما دارد و کس دیگری است. پیش از اعتماد شمارهٔ ایمنی را مقایسه کنید.",
  "not-admin": "کسی در گروه خواست کاری کند که تنها مدیر می‌تواند. نادیده گرفته شد.",
  "not-a-member": "کسی راهی برای بازگشت به گفتگویی پیش پایتان گذاشت که جور نبود.",
  "relay-lied":
    "رله‌ای چیزی را جا انداخت یا تغییر داد. این با گفتهٔ پیشینش نمی‌خواند: به رفتن از آن بیندیشید.",
  "relay-doubted":
    "کسی می‌گوید رله‌ای چیزی جز آن‌چه به شما نشان داد به او نشان داده است. یکی از این دو دروغ می‌گوید.",
  "relay-key-changed":
    "رله‌ای با کلیدی جز کلید خودش پاسخ داد. شاید کسی میان شما و آن است. چیزی فرستاده نشد.",
  "ledger-rewritten":
    "رله‌ای دفتر همگانی‌اش را بازنویسی کرده یا رونوشتی کهنه را برگردانده است. از گرداننده‌اش بپرسید.",
  "move-announced":
    "یکی از رله‌های شما اعلام کرده که همه چیز آن‌جا جابه‌جا می‌شود. می‌توانید بمانید یا بروید.",
  "moved-away":
    "داده‌های رله‌ای به منطقه‌ای رفته که اجازه نداده‌اید. آن‌چه می‌گویید می‌ماند تا اجازه دهید یا بروید.",
  "label-taken": "کسی به جای آن‌چه فرستادید چیز دیگری روی رله گذاشت. برنامه آن را دوباره می‌فرستد.",
  "group-vouched":
    "از گروهی دور بودید و تنها یک نفر گواه آن‌چه گذشته است. ببینید چه کسانی در آن‌اند.",
  "broken-chain":
    "کسی در یک جا دو چیز گوناگون گفت. داده‌هایش را رونوشت کرده و دو بار به کار برده‌اند، یا برنامه‌اش دروغ می‌گوید. از او بپرسید.",
  "heard-otherwise":
    "به کسی چیزی جز آن‌چه به شما گفته شد گفته‌اند. یکی از آن‌ها، یا برنامه‌ای، دروغ می‌گوید.",
  "copied-vault": "رونوشت دیگری از نمایهٔ شما پس از این یکی به کار رفت. تنها یکی را به کار ببرید.",
  "message-lost": "پیامی به شما گم شد: فرستنده‌اش دیگر آن را ندارد. از او بخواهید دوباره بنویسد.",
  "vault-damaged":
    "پرونده‌ای که همه چیز شما در آن است آسیب دیده است. پیش از ادامه از آن رونوشت بگیرید.",
  "engine-failed": "بخشی از برنامه از کار افتاد و پیش از آن‌که زیانی برساند متوقف شد.",
};

/** What of others could not be read: to the person all of it is one. */
const UNREAD = [
  "invalid-message",
  "invalid-commit",
  "invalid-key-package",
  "invalid-credential",
  "invalid-cell",
  "invalid-file",
  "reused-secret",
  "too-old",
  "wrong-epoch",
  "own-message",
  "malformed-frame",
  "frame-too-large",
];
/** What a relay did not take. */
const REFUSED = [
  "no-such-drop",
  "no-access",
  "drop-conflict",
  "bad-cell",
  "cell-too-large",
  "wrong-region",
  "not-in-ledger",
  "unexpected-reply",
  "broken-ledger",
  "broken-move",
  "broken-descriptor",
  "broken-seal",
  "hop-refused",
];

const found = { en: english, fa: persian }[language];

/** The sentence for a warning. @param {string} code */
export function warned(code) {
  const key = UNREAD.includes(code) ? "unread" : REFUSED.includes(code) ? "refused" : code;
  return found[key] ?? (found.other ?? "").replace("{code}", code);
}
