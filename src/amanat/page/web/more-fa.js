/** The words of Persian that a page seldom needs. */

/** @import * as English from "./more-en.js" */

/** @type {Record<keyof typeof English.words, string>} */
export const words = {
  // Chats of other messengers
  imports: "گفتگوهای تلگرام و واتس‌اپ",
  importsHint:
    "رمزشده روی این دستگاه و جدا از گفتگوهای خودتان می‌مانند. چیزی از آن‌ها از این دستگاه بیرون نمی‌رود. نام‌ها و واژه‌ها همان است که خروجی می‌گوید: کسی آن‌ها را امضا نکرده است.",
  importBegin: "آوردن گفتگوها",
  importNone: "هنوز گفتگویی نیاورده‌اید.",
  importHow:
    "در تلگرام دسکتاپ {all} یا در یک گفتگو {one} را بزنید و قالب JSON را برگزینید که بیش از HTML در خود دارد. در واتس‌اپ {whatsapp} را بزنید. سپس خروجی را این‌جا برگزینید؛ خودِ آن سر جایش می‌ماند.",
  importFound: "در دانلودهای شما",
  importPath: "جای خروجی: پوشه، پرونده یا بایگانی ZIP آن",
  importLook: "نگاهی به آن",
  importLooks: "خروجی خوانده می‌شود. چیزی دگرگون نمی‌شود.",
  importGoes: "گفتگوها آورده می‌شوند.",
  importStop: "ایست",
  importStopped: "ایستاد. آنچه تا این‌جا آمد همین‌جاست؛ دوباره آغاز کنید تا از همان‌جا پی گرفته شود.",
  importWhat: "چه در آن است",
  importPick: "گفتگوهایی که آورده شوند",
  importCountOne: "یک پیام",
  importCountOther: "{n} پیام",
  importSpan: "از {from} تا {to}",
  importFilesOne: "یک پرونده جا می‌ماند",
  importFilesOther: "{n} پرونده جا می‌مانند",
  importLeft: "آنچه برداشته نمی‌شود",
  leftBrokenOne: "یک پیام خوانده نمی‌شود.",
  leftBrokenOther: "{n} پیام خوانده نمی‌شوند.",
  leftUnknownOne: "یک پیام از گونه‌ای است که این برنامه نمی‌شناسد.",
  leftUnknownOther: "{n} پیام از گونه‌هایی‌اند که این برنامه نمی‌شناسد.",
  leftUnsupportedOne: "خودِ تلگرام یک پیام را کنار گذاشته است.",
  leftUnsupportedOther: "خودِ تلگرام {n} پیام را کنار گذاشته است.",
  leftContacts: "مخاطبان، نشست‌ها و پرونده‌ها در خروجی می‌مانند.",
  importCut: "پرونده در میانهٔ {chat} پایان می‌یابد. هرچه پیش از آن است می‌آید.",
  importMe: "نام خودتان در آن",
  importMeHint: "گفته‌های این نام در سوی شما می‌ایستند. می‌تواند خالی بماند.",
  importZone: "منطقهٔ زمانی آن، مانند Asia/Tehran",
  importZoneHint: "خروجی آن را نمی‌گوید. اگر خالی بماند، منطقهٔ همین دستگاه است.",
  importDates: "تاریخ‌هایش چگونه نوشته شده‌اند",
  importDatesHint: "در این گفتگو چیزی آن را نشان نمی‌دهد. 3/4 چه خوانده می‌شود؟",
  dayFirst: "سوم آوریل",
  monthFirst: "چهارم مارس",
  importNow: "بیاورشان",
  importDoneOne: "یک پیام اکنون این‌جاست.",
  importDoneOther: "{n} پیام اکنون این‌جاست.",
  unverified: "از {app} آورده شده است. کسی نام‌ها و واژه‌هایش را تأیید نکرده است.",
  goesOnFrom: "دنبالهٔ گفتگویی است که آن هم این‌جاست.",
  importSearch: "جستجو در آنچه آورده‌اید",
  importDelete: "پاک‌کردن این گفتگو",
  importDeleteAll: "پاک‌کردن همهٔ گفتگوهایی که آورده‌اید",
  importDeleteWhat: "از این‌جا می‌روند و واژه‌ای از آن‌ها نمی‌ماند. خروجی روی دیسک شما سر جایش می‌ماند.",
  importOlder: "پیام‌های پیش‌تر",
  importNewer: "پیام‌های پس‌تر",
  importForwarded: "از {who}",
  // The camera
  camera: "عکس با دوربین",
  takePicture: "گرفتن عکس",
  takeAnother: "گرفتن عکسی دیگر",
};

/** @type {typeof English.kinds} */
export const kinds = {
  photo: "عکس",
  sticker: "برچسب",
  voice: "پیام صوتی",
  video: "ویدیو",
  animation: "پویانمایی",
  audio: "صدا",
  file: "پرونده",
  poll: "نظرسنجی",
  place: "جا",
  contact: "مخاطب",
  other: "چیز دیگر",
};

/** @type {typeof English.events} */
export const events = {
  create_group: "{who} گروه {what} را ساخت",
  create_channel: "{who} {what} را ساخت",
  edit_group_title: "{who} نامش را {what} گذاشت",
  edit_group_photo: "{who} عکسش را عوض کرد",
  delete_group_photo: "{who} عکسش را برداشت",
  invite_members: "{who} {what} را افزود",
  remove_members: "{who} {what} را بیرون کرد",
  join_group_by_link: "{who} با پیوند آمد",
  join_group_by_request: "{who} به درخواست خودش آمد",
  pin_message: "{who} پیامی را سنجاق کرد",
  phone_call: "{who} زنگ زد",
  migrate_to_supergroup: "{who} آن را ابرگروه کرد",
  migrate_from_group: "{who} آن را از گروه {what} ساخت",
  topic_created: "{who} موضوع {what} را آغاز کرد",
  topic_edit: "{who} موضوع {what} را دگرگون کرد",
};

/** @type {typeof English.faults} */
export const faults = {
  "not-an-export": "در این جا خروجی‌ای نیست. پوشه یا پروندهٔ خروجی تلگرام دسکتاپ یا واتس‌اپ را بدهید.",
  "newer-export": "این خروجی از این برنامه تازه‌تر است. امانت را به‌روز کنید؛ چیزی آورده نشد.",
  "broken-export": "این خروجی خراب است. دوباره بسازیدش؛ آنچه پیش از آن آمد می‌ماند.",
  "export-unfinished": "برنامهٔ دیگری هنوز این خروجی را می‌نویسد. بگذارید تمام شود و دوباره بکوشید.",
  "open-dates":
    "چیزی در این گفتگو نشان نمی‌دهد تاریخ‌هایش چگونه نوشته شده‌اند. دوباره نگاهی به آن بیندازید.",
  "no-chat-chosen": "گفتگویی برنگزیده‌اید.",
  "unknown-import": "این گفتگو دیگر این‌جا نیست.",
};
