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
};

const languages = { en: english, fa: persian };

const wanted = navigator.languages.map((one) => one.slice(0, 2));

/** @type {"en" | "fa"} */
export const language = wanted.find((one) => one in languages) === "fa" ? "fa" : "en";
export const words = languages[language];

export const clock = new Intl.DateTimeFormat(words.locale, { hour: "2-digit", minute: "2-digit" });
export const number = new Intl.NumberFormat(words.locale);
