/**
 * What the page says, in each language. A third language is one more object with the same keys.
 * @typedef {Record<keyof typeof english, string>} Words
 */

const english = {
  direction: "ltr",
  locale: "en",
  chats: "Conversations",
  messages: "Messages",
  write: "Message",
  send: "Send",
  back: "Back to the conversations",
  empty: "Choose a conversation.",
  nobody: "You have no conversations yet.",
  away: "The client has stopped. Start it again with: amanat up",
  deleted: "This message was deleted.",
  edited: "edited",
  unread: "Unread messages",
  rests: "rests in",
  waiting: "Waits until the conversation is in step again",
  queued: "Waits for the relay",
  sent: "On a relay",
  delivered: "Everybody has it",
  undelivered: "Not everybody has it",

  // The start
  welcome: "Welcome to Amanat",
  welcomeHelp: "Choose the name that others see. You can try everything on this machine first.",
  yourName: "Your name",
  passphrase: "Passphrase",
  newPassphrase: "A passphrase, which opens your messages on this machine",
  again: "The same passphrase again",
  passphraseHelp: "Five or six words that nobody would guess. Nobody can give it back to you.",
  differ: "The two passphrases differ.",
  otherRelay: "Relay",
  otherRelayHelp:
    "Your messages wait at a relay until you fetch them. Paste the address of one that somebody runs for you. If you leave it empty, a relay starts on this machine, where only people on this machine reach you.",
  relayAddress: "Address of the relay",
  accessCode: "Access code, if the relay has one",
  country: "Country of this machine",
  countryHelp: "Two letters, such as DE. A relay on this machine says that its data rests there.",
  begin: "Begin",
  locked: "Amanat is locked",
  lockedHelp: "Your messages are encrypted on this machine. Open them to go on.",
  open: "Open",
  oneMoment: "One moment…",
  wrongPassphrase: "That is not the passphrase. Try again; mind the keyboard's language.",
  profileInUse: "Another process has your messages open. Stop it (amanat run or amanat up) first.",
  relayUnreachable: "The relay does not answer. Check its address and your connection.",
  relayKeyChanged: "Another relay answers at this address. Ask its operator for the present one.",
  brokenAddress: "That is not the whole address of a relay. It begins with amanat://",
  noAccess: "The relay lets in only people with its access code. Check the code.",
  diskFull: "The disk is full. Make room and try again; nothing is lost.",
  vaultTooNew: "A newer version of Amanat has written your messages. Install that version.",
  vaultTooOld: "Your messages are of an old version that this one cannot read.",
  vaultDamaged: "The file with your messages is damaged. Take a copy, then run: amanat doctor",
  failed: "That did not work.",
};

/** @type {Words} */
const persian = {
  direction: "rtl",
  locale: "fa-IR-u-ca-persian",
  chats: "گفتگوها",
  messages: "پیام‌ها",
  write: "پیام",
  send: "فرستادن",
  back: "بازگشت به گفتگوها",
  empty: "یک گفتگو را برگزینید.",
  nobody: "هنوز گفتگویی ندارید.",
  away: "برنامه ایستاده است. دوباره اجرا کنید: amanat up",
  deleted: "این پیام پاک شد.",
  edited: "ویرایش شده",
  unread: "پیام‌های نخوانده",
  rests: "می‌ماند در",
  waiting: "تا هماهنگ شدن دوبارهٔ گفتگو می‌ماند",
  queued: "در انتظار رله",
  sent: "روی رله",
  delivered: "به همه رسیده است",
  undelivered: "به همه نرسیده است",

  // The start
  welcome: "به امانت خوش آمدید",
  welcomeHelp:
    "نامی را برگزینید که دیگران می‌بینند. می‌توانید همه‌چیز را نخست روی همین دستگاه بیازمایید.",
  yourName: "نام شما",
  passphrase: "گذرواژه",
  newPassphrase: "گذرواژه‌ای که پیام‌هایتان را روی این دستگاه باز می‌کند",
  again: "دوباره همان گذرواژه",
  passphraseHelp: "پنج یا شش واژه که کسی حدس نزند. هیچ‌کس نمی‌تواند آن را به شما بازگرداند.",
  differ: "دو گذرواژه یکی نیستند.",
  otherRelay: "رله",
  otherRelayHelp:
    "پیام‌هایتان در یک رله می‌مانند تا آن‌ها را بگیرید. نشانی رله‌ای را بچسبانید که کسی برایتان راه انداخته است. اگر خالی بگذارید، رله‌ای روی همین دستگاه آغاز می‌شود و تنها کسانی که روی این دستگاه‌اند به شما می‌رسند.",
  relayAddress: "نشانی رله",
  accessCode: "رمز ورود، اگر رله دارد",
  country: "کشور این دستگاه",
  countryHelp: "دو حرف، مانند DE. رلهٔ روی این دستگاه می‌گوید که داده‌هایش آنجا می‌مانند.",
  begin: "آغاز",
  locked: "امانت قفل است",
  lockedHelp: "پیام‌هایتان روی این دستگاه رمزگذاری شده‌اند. برای ادامه بازشان کنید.",
  open: "باز کردن",
  oneMoment: "یک لحظه…",
  wrongPassphrase: "گذرواژه درست نیست. دوباره بکوشید و به زبان صفحه‌کلید توجه کنید.",
  profileInUse:
    "برنامهٔ دیگری پیام‌هایتان را باز کرده است. نخست آن را ببندید (amanat run یا amanat up).",
  relayUnreachable: "رله پاسخ نمی‌دهد. نشانی آن و اتصال خود را بررسی کنید.",
  relayKeyChanged: "رلهٔ دیگری در این نشانی پاسخ می‌دهد. نشانی کنونی را از گرداننده بپرسید.",
  brokenAddress: "این نشانی کامل یک رله نیست. نشانی با amanat:// آغاز می‌شود",
  noAccess: "این رله تنها کسانی را می‌پذیرد که رمز ورود دارند. رمز را بررسی کنید.",
  diskFull: "دیسک پر است. جا باز کنید و دوباره بکوشید؛ چیزی از دست نرفته است.",
  vaultTooNew: "نسخهٔ تازه‌تری از امانت پیام‌هایتان را نوشته است. آن نسخه را نصب کنید.",
  vaultTooOld: "پیام‌هایتان از نسخه‌ای قدیمی‌اند که این نسخه نمی‌خواند.",
  vaultDamaged: "پروندهٔ پیام‌هایتان آسیب دیده است. از آن رونوشت بگیرید و اجرا کنید: amanat doctor",
  failed: "این کار نشد.",
};

const languages = { en: english, fa: persian };

const wanted = navigator.languages.map((one) => one.slice(0, 2));

/** @type {"en" | "fa"} */
export const language = wanted.find((one) => one in languages) === "fa" ? "fa" : "en";
export const words = languages[language];

export const clock = new Intl.DateTimeFormat(words.locale, { hour: "2-digit", minute: "2-digit" });
export const number = new Intl.NumberFormat(words.locale);
