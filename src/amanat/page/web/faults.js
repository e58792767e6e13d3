/** What is said when something could not be done, by the code of the error, in each language. */

import { language } from "./words.js";

/** @typedef {Record<string, string>} Faults */

/** @type {Faults} */
const english = {
  other: "This did not work ({code}). Nothing was changed.",
  gone: "Your client does not answer just now. Try again in a moment.",
  "no-code": "There is no code in this picture that your browser can read. Paste the link instead.",
  "no-camera": "The browser does not give the page the camera. Use a picture, or paste the link.",
  differ: "The two passphrases differ.",
  "other-name": "This is not your name, letter by letter. Nothing was destroyed.",
  "no-notifications": "Your browser does not allow notifications from this page.",
  "bad-argument": "Something you typed is not allowed here. Check it and try again.",
  "not-permitted":
    "The system does not let your client read or write its files. Check their owner.",
  "no-profile": "There is no profile here yet.",
  "profile-exists": "There is a profile here already.",
  "profile-in-use": "Another program is using this profile. Close that one first.",
  "profile-locked": "Your profile is locked. Unlock it first.",
  "wrong-passphrase": "This passphrase does not open the profile.",
  "vault-too-new": "A newer Amanat wrote this profile. Install the newer one; nothing was changed.",
  "vault-too-old": "An Amanat from before 0.1.0 wrote this profile, and this one cannot open it.",
  "vault-damaged":
    "The file with everything you have is damaged. Stop, and take a copy of it before you go on.",
  "port-taken": "Another program on this machine is in the way. Try again.",
  "unknown-contact": "You have no contact with this name.",
  "unknown-conversation": "This conversation is no longer here.",
  "ambiguous-name": "More than one person or group has this name.",
  "not-a-member": "You are not in this conversation any more.",
  "not-admin": "Only an admin of the group may do this.",
  "group-too-large": "The group would become too large.",
  "message-too-large": "This text is too long. Send it in parts.",
  "unknown-message": "This message is no longer here.",
  "unknown-help": "That person's offer no longer stands.",
  "not-yours": "You can only change your own messages for everyone.",
  blocked: "You have blocked this person. Unblock them first.",
  "invite-used": "This link was used or withdrawn. Ask for a new one.",
  "invite-expired": "This link is too old. Ask for a new one.",
  "unknown-invite": "This invite is no longer open.",
  "own-invite": "This is your own link. Give it to somebody else.",
  "broken-invite": "This is not a whole invite. Copy the whole link again.",
  "region-not-allowed":
    "This relay is in a region you have not allowed. Allow it first, under Home.",
  "regions-differ":
    "You want your home and your second relay in one region, and these two are not.",
  "broken-address": "This is not a whole relay address. It looks like amanat://HOST:PORT/#KEY.",
  "no-access": "This relay takes its own people only. Ask its operator for an access code.",
  "unsupported-version": "The relay speaks another version of Amanat than you.",
  "broken-descriptor":
    "What the relay says about itself is not signed as it should be. Nothing was sent.",
  "hop-refused": "The relay in between does not pass requests on to that one.",
  "relay-unreachable":
    "The relay does not answer. Check the address and your connection, and try again.",
  "relay-busy": "The relay has too much to do. Try again in a moment.",
  "moved-away":
    "Your data has moved to a region you have not allowed. Allow it or leave, under Home.",
  "not-public": "Somebody says this relay is on a private network. Name it yourself, under Home.",
  "hop-away": "The relay in between cannot be reached. What you say waits for it.",
  "no-hop": "For this you need a second relay, of another operator, that passes requests on.",
  "drop-full": "There is no more room for this on the relay.",
  "disk-full": "There is no room left on your disk. Nothing is lost: make room, and try again.",
  "file-too-large": "A file has become as large as your system allows. Nothing is lost.",
  "disk-failed": "Your disk reports an error. Copy your data before you go on.",
  "no-memory": "There is not enough memory to open the profile. Close something else first.",
  draining: "The relay is shutting down. Try again later.",
  overrun: "The page was too slow, and asks for everything again.",
  "out-of-step": "Your client is coming back into this conversation. Try again in a while.",
  "pending-commit": "An earlier change of the group is still on its way. Try again in a moment.",
  "identity-changed":
    "This is not the person you know by that name. Nothing was sent. Compare safety numbers.",
  "relay-key-changed":
    "The relay is not the one that the address names. Somebody may stand in between. Nothing was sent.",
  "relay-lied": "The relay contradicts itself. Do not trust what it shows.",
  "engine-failed":
    "A part of the program failed and was stopped before it could do harm. Start it again.",
};

/** @type {Faults} */
const persian = {
  other: "این کار انجام نشد ({code}). چیزی تغییر نکرد.",
  gone: "برنامهٔ شما اکنون پاسخ نمی‌دهد. کمی بعد دوباره امتحان کنید.",
  "no-code": "مرورگر شما در این تصویر کدی نیافت. به جای آن پیوند را بچسبانید.",
  "no-camera": "مرورگر دوربین را در اختیار صفحه نمی‌گذارد. تصویری برگزینید یا پیوند را بچسبانید.",
  differ: "دو گذرواژه یکی نیستند.",
  "other-name": "این حرف به حرف نام شما نیست. چیزی نابود نشد.",
  "no-notifications": "مرورگر شما به این صفحه اجازهٔ اعلان نمی‌دهد.",
  "bad-argument": "چیزی که نوشتید این‌جا پذیرفتنی نیست. آن را بررسی کنید و دوباره بکوشید.",
  "not-permitted":
    "سیستم به برنامه اجازهٔ خواندن یا نوشتن پرونده‌هایش را نمی‌دهد. مالک آن‌ها را بررسی کنید.",
  "no-profile": "این‌جا هنوز نمایه‌ای نیست.",
  "profile-exists": "این‌جا از پیش نمایه‌ای هست.",
  "profile-in-use": "برنامهٔ دیگری این نمایه را به کار گرفته است. نخست آن را ببندید.",
  "profile-locked": "نمایهٔ شما قفل است. نخست آن را باز کنید.",
  "wrong-passphrase": "این گذرواژه نمایه را باز نمی‌کند.",
  "vault-too-new":
    "امانتِ تازه‌تری این نمایه را نوشته است. نسخهٔ تازه‌تر را نصب کنید؛ چیزی تغییر نکرد.",
  "vault-too-old": "امانتِ پیش از ۰٫۱٫۰ این نمایه را نوشته است و این نسخه آن را باز نمی‌کند.",
  "vault-damaged":
    "پرونده‌ای که همه چیز شما در آن است آسیب دیده است. دست نگه دارید و پیش از ادامه از آن رونوشت بگیرید.",
  "port-taken": "برنامهٔ دیگری روی این دستگاه سر راه است. دوباره بکوشید.",
  "unknown-contact": "مخاطبی با این نام ندارید.",
  "unknown-conversation": "این گفتگو دیگر این‌جا نیست.",
  "ambiguous-name": "بیش از یک نفر یا گروه این نام را دارد.",
  "not-a-member": "شما دیگر در این گفتگو نیستید.",
  "not-admin": "تنها مدیر گروه می‌تواند این کار را بکند.",
  "group-too-large": "گروه بیش از اندازه بزرگ می‌شود.",
  "message-too-large": "این متن بیش از اندازه بلند است. آن را در چند بخش بفرستید.",
  "unknown-message": "این پیام دیگر این‌جا نیست.",
  "unknown-help": "پیشنهاد آن شخص دیگر برقرار نیست.",
  "not-yours": "تنها پیام‌های خودتان را می‌توانید برای همه تغییر دهید.",
  blocked: "شما این شخص را مسدود کرده‌اید. نخست از مسدودی درش آورید.",
  "invite-used": "این پیوند به کار رفته یا پس گرفته شده است. پیوند تازه‌ای بخواهید.",
  "invite-expired": "این پیوند کهنه شده است. پیوند تازه‌ای بخواهید.",
  "unknown-invite": "این دعوت دیگر باز نیست.",
  "own-invite": "این پیوند خود شماست. آن را به کس دیگری بدهید.",
  "broken-invite": "این یک دعوت کامل نیست. همهٔ پیوند را دوباره رونویسی کنید.",
  "region-not-allowed": "این رله در منطقه‌ای است که اجازه نداده‌اید. نخست در «خانه» اجازه‌اش دهید.",
  "regions-differ": "می‌خواهید خانه و رلهٔ دومتان در یک منطقه باشند و این دو نیستند.",
  "broken-address": "این نشانی کامل یک رله نیست. باید مانند amanat://HOST:PORT/#KEY باشد.",
  "no-access": "این رله تنها کسان خودش را می‌پذیرد. از گرداننده‌اش کد دسترسی بخواهید.",
  "unsupported-version": "رله با نسخهٔ دیگری از امانت سخن می‌گوید.",
  "broken-descriptor": "آن‌چه رله دربارهٔ خود می‌گوید چنان که باید امضا نشده است. چیزی فرستاده نشد.",
  "hop-refused": "رلهٔ میانی درخواست‌ها را به آن رله نمی‌رساند.",
  "relay-unreachable": "رله پاسخ نمی‌دهد. نشانی و اتصال خود را بررسی کنید و دوباره بکوشید.",
  "relay-busy": "سر رله شلوغ است. کمی بعد دوباره بکوشید.",
  "moved-away":
    "داده‌های شما به منطقه‌ای رفته‌اند که اجازه نداده‌اید. در «خانه» اجازه دهید یا از آن‌جا بروید.",
  "not-public": "کسی می‌گوید این رله در شبکه‌ای خصوصی است. خودتان در «خانه» از آن نام ببرید.",
  "hop-away": "رلهٔ میانی در دسترس نیست. آن‌چه می‌گویید منتظر آن می‌ماند.",
  "no-hop": "برای این کار رلهٔ دومی از گرداننده‌ای دیگر می‌خواهید که درخواست‌ها را برساند.",
  "drop-full": "روی رله دیگر برای این جا نیست.",
  "disk-full": "روی دیسک شما جا نمانده است. چیزی از دست نرفته: جا باز کنید و دوباره بکوشید.",
  "file-too-large":
    "پرونده‌ای به بزرگ‌ترین اندازه‌ای که سیستم اجازه می‌دهد رسیده است. چیزی از دست نرفته است.",
  "disk-failed": "دیسک شما خطا می‌دهد. پیش از ادامه از داده‌هایتان رونوشت بگیرید.",
  "no-memory": "حافظه برای باز کردن نمایه بس نیست. نخست برنامهٔ دیگری را ببندید.",
  draining: "رله دارد خاموش می‌شود. بعداً دوباره بکوشید.",
  overrun: "صفحه کند بود و همه چیز را دوباره می‌پرسد.",
  "out-of-step": "برنامهٔ شما دارد به این گفتگو باز می‌گردد. کمی بعد دوباره بکوشید.",
  "pending-commit": "تغییر پیشین گروه هنوز در راه است. کمی بعد دوباره بکوشید.",
  "identity-changed":
    "این همان کسی نیست که با این نام می‌شناسید. چیزی فرستاده نشد. شمارهٔ ایمنی را مقایسه کنید.",
  "relay-key-changed": "این رله همان رلهٔ این نشانی نیست. شاید کسی در میان است. چیزی فرستاده نشد.",
  "relay-lied": "حرف‌های رله با هم نمی‌خواند. به آن‌چه نشان می‌دهد اعتماد نکنید.",
  "engine-failed":
    "بخشی از برنامه از کار افتاد و پیش از آن‌که زیانی برساند متوقف شد. آن را دوباره راه بیندازید.",
};

const found = { en: english, fa: persian }[language];

/** The sentence for what an ask failed with. @param {unknown} error */
export function fault(error) {
  return faultOf(error instanceof Error ? error.message : "");
}

/** The sentence for the code of an error. @param {string} code */
export function faultOf(code) {
  return found[code] ?? (found.other ?? "").replace("{code}", code);
}
