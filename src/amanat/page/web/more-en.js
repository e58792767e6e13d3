/** The words of English that a page seldom needs. Every language has them in a file like this. */

export const words = {
  // Chats of other messengers
  imports: "Chats from Telegram and WhatsApp",
  importsHint:
    "They rest encrypted on this machine, apart from your conversations. Nothing of them leaves this machine. Names and words are as the export says: nobody has signed them.",
  importBegin: "Bring chats along",
  importNone: "You have not brought any chats along yet.",
  importHow:
    "In Telegram Desktop choose {all} or, in one chat, {one}, and the format JSON, which holds more than HTML. In WhatsApp choose {whatsapp}. Then choose the export here; it stays where it is.",
  importFound: "In your downloads",
  importPath: "Place of the export: its folder, file or ZIP archive",
  importLook: "Look into it",
  importLooks: "The export is being read. Nothing is changed.",
  importGoes: "Chats are being brought along.",
  importStop: "Stop",
  importStopped: "Stopped. What came so far is here; begin again, and it goes on from there.",
  importWhat: "What is in it",
  importPick: "Chats to bring along",
  importCountOne: "One message",
  importCountOther: "{n} messages",
  importSpan: "{from} to {to}",
  importFilesOne: "One file stays behind",
  importFilesOther: "{n} files stay behind",
  importLeft: "What is not taken",
  leftBrokenOne: "One message cannot be read.",
  leftBrokenOther: "{n} messages cannot be read.",
  leftUnknownOne: "One message is of a kind that this program does not know.",
  leftUnknownOther: "{n} messages are of kinds that this program does not know.",
  leftUnsupportedOne: "Telegram itself has left one message out.",
  leftUnsupportedOther: "Telegram itself has left {n} messages out.",
  leftContacts: "Contacts, sessions and files stay in the export.",
  importCut: "The file ends in the middle of {chat}. Everything before that comes.",
  importMe: "Your own name in it",
  importMeHint: "What this name says stands on your side. It may stay empty.",
  importZone: "Time zone of its times, such as Asia/Tehran",
  importZoneHint: "The export does not say it. Empty, it is that of this machine.",
  importDates: "How its dates are written",
  importDatesHint: "Nothing in this chat shows it. How does 3/4 read?",
  dayFirst: "The third of April",
  monthFirst: "The fourth of March",
  importNow: "Bring them along",
  importDoneOne: "One message is here now.",
  importDoneOther: "{n} messages are here now.",
  unverified: "Brought along from {app}. Nobody has verified its names and words.",
  goesOnFrom: "It goes on from a chat that is here, too.",
  importSearch: "Search in what you brought along",
  importDelete: "Delete this chat",
  importDeleteAll: "Delete all chats that you brought along",
  importDeleteWhat:
    "They go from here, and no word of them stays. The export on your disk stays as it is.",
  importOlder: "Older messages",
  importNewer: "Newer messages",
  importForwarded: "from {who}",
  // The camera
  camera: "A picture by the camera",
  takePicture: "Take the picture",
  takeAnother: "Take another",
};

/** What stands beside the words of an imported message, by its kind. */
export const kinds = {
  photo: "Picture",
  sticker: "Sticker",
  voice: "Voice note",
  video: "Video",
  animation: "Animation",
  audio: "Sound",
  file: "File",
  poll: "Poll",
  place: "Place",
  contact: "Contact",
  other: "Something else",
};

/** What happened in an imported chat, by what its program calls it. */
export const events = {
  create_group: "{who} created the group {what}",
  create_channel: "{who} created {what}",
  edit_group_title: "{who} renamed it to {what}",
  edit_group_photo: "{who} changed its picture",
  delete_group_photo: "{who} removed its picture",
  invite_members: "{who} added {what}",
  remove_members: "{who} removed {what}",
  join_group_by_link: "{who} joined by a link",
  join_group_by_request: "{who} joined on request",
  pin_message: "{who} pinned a message",
  phone_call: "{who} called",
  migrate_to_supergroup: "{who} made it a supergroup",
  migrate_from_group: "{who} made it from the group {what}",
  topic_created: "{who} began the topic {what}",
  topic_edit: "{who} changed the topic {what}",
};

/** What is said when something could not be done, by the code of the error. */
export const faults = {
  "not-an-export":
    "There is no export at this place. Give the folder or the file of an export of Telegram Desktop or WhatsApp.",
  "newer-export":
    "This export is newer than this program. Update Amanat; nothing was brought along.",
  "broken-export": "This export is broken. Make it again; what came before stays.",
  "export-unfinished":
    "Another program is still writing this export. Wait until it has ended, and try again.",
  "open-dates": "Nothing in this chat shows how its dates are written. Look into it again.",
  "no-chat-chosen": "You have chosen no chat.",
  "unknown-import": "This chat is no longer here.",
};
